// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/dump_child.h"

#include <csignal>
#include <sstream>

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/proc.h"
#include "launch/attempt/small_file.h"
#include "launch/attempt/stack_dump.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

constexpr double kDumpSeconds = 5.0;

std::string identity(const fs::path& file) {
  struct stat info {};
  if (::lstat(file.c_str(), &info) != 0) return {};
  return fmt::format("{} {} {} {}", info.st_ino, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

bool lists(const std::string& text, int rank) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line == std::to_string(rank)) return true;
  }
  return false;
}

}  // namespace

DumpChild::DumpChild(const fs::path& attempt_folder, int rank)
    : attempt_folder_(attempt_folder),
      temporary_(attempt_folder / rank_file(rank, ".stack.tmp")),
      target_(attempt_folder / rank_file(rank, ".stack")),
      rank_(rank) {}

DumpChild::~DumpChild() { finish(); }

void DumpChild::look() {
  if (running() || worker_ == 0) return;
  const std::string now = identity(attempt_folder_ / "dump");
  if (now.empty() || now == seen_) return;
  seen_ = now;
  try {
    const auto text = read_small_file(attempt_folder_, "dump");
    if (text && lists(*text, rank_)) start();
  } catch (const Error& error) {
    log_warning("{}", error.what());
  }
}

void DumpChild::start() {
  worker_was_stopped_ = process_state(worker_) == 'T';
  started_ = monotonic_seconds();
  child_ = check_sys(::fork(), "fork", "a dump");
  if (child_ != 0) return;
  std::FILE* out = std::fopen(temporary_.c_str(), "we");
  if (out == nullptr) ::_exit(kExitFailed);
  dump_stacks(worker_, out);
  ::_exit(std::fclose(out) == 0 ? kExitDone : kExitFailed);
}

void DumpChild::tend() {
  if (!running()) return;
  int status = 0;
  const pid_t ended = check_sys(::waitpid(child_, &status, WNOHANG), "waitpid", "a dump");
  if (ended == child_) {
    child_ = 0;
    end(true);
  } else if (monotonic_seconds() - started_ > kDumpSeconds) {
    finish();
    end(false);
  }
}

void DumpChild::finish() {
  if (!running()) return;
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
  child_ = 0;
}

void DumpChild::end(bool in_time) {
  // A tracer killed at the wrong moment leaves behind the stop that it began with.
  if (!in_time && !worker_was_stopped_ && process_state(worker_) == 'T') ::kill(worker_, SIGCONT);
  if (!in_time) log_warning("the dump of the stacks took longer than {} s", kDumpSeconds);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    log_warning("{}", describe_errno("rename", temporary_.string(), errno));
  }
}

}  // namespace talaria::launch
