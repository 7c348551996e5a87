// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/proc.h"

#include <charconv>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/wire/rank_status.h"
#include "launch/attempt/pidfd.h"

namespace talaria::launch {
namespace {

struct DirCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

void for_each_process(const std::function<void(pid_t)>& visit) {
  const std::unique_ptr<DIR, DirCloser> folder(::opendir("/proc"));
  if (!folder) fail_errno("opendir", "/proc");
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && end == name.data() + name.size()) visit(pid);
  }
}

// The environment is a row of texts, each with a zero byte at its end.
bool carries(pid_t pid, const std::string& entry) {
  const std::string environment = read_proc_file(fmt::format("/proc/{}/environ", pid));
  for (std::size_t at = environment.find(entry); at != std::string::npos;
       at = environment.find(entry, at + 1)) {
    if (at == 0 || environment[at - 1] == '\0') return true;
  }
  return false;
}

// The third and later fields of /proc/PID/stat; the second, the name, may hold anything.
std::string stat_fields(pid_t pid) {
  const std::string stat = read_proc_file(fmt::format("/proc/{}/stat", pid));
  const std::size_t name_end = stat.rfind(") ");
  return name_end == std::string::npos ? std::string() : stat.substr(name_end + 2);
}

bool is_child(pid_t pid) {
  std::istringstream fields(stat_fields(pid));
  char state = 0;
  pid_t parent = 0;
  return (fields >> state >> parent) && parent == ::getpid();
}

std::string attempt_entry(const std::string& attempt_id) {
  return std::string(wire::kAttemptIdVariable) + "=" + attempt_id + '\0';
}

// "Name:\ttalaria-launch" and the bit of the signal in "SigBlk:\t0000000000000a00".
bool is_waiting_shim(pid_t pid, int signal) {
  std::istringstream lines(read_proc_file(fmt::format("/proc/{}/status", pid)));
  bool is_launch = false;
  std::uint64_t blocked = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Name:\ttalaria-launch") is_launch = true;
    if (line.starts_with("SigBlk:\t")) {
      std::from_chars(line.data() + 8, line.data() + line.size(), blocked, 16);
    }
  }
  return is_launch && ((blocked >> (signal - 1)) & 1) != 0;
}

}  // namespace

std::string read_proc_file(const std::string& path) {
  std::string content;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[1 << 14];
  while (fd) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    content.append(buffer, static_cast<std::size_t>(got));
  }
  return content;
}

char process_state(pid_t pid) {
  const std::string fields = stat_fields(pid);
  return fields.empty() ? '\0' : fields[0];
}

std::vector<FoundProcess> find_attempt_processes(const std::string& attempt_id) {
  const std::string entry = attempt_entry(attempt_id);
  std::vector<FoundProcess> found;
  for_each_process([&](pid_t pid) {
    const auto is_ours = [&] { return is_child(pid) || carries(pid, entry); };
    if (pid == ::getpid() || !is_ours()) return;
    UniqueFd handle = open_process(pid);
    // Asked again: now the answer is about the process that the handle means.
    if (handle && is_ours()) found.push_back({pid, std::move(handle)});
  });
  return found;
}

bool is_on_a_command_line(const std::string& text) {
  bool found = false;
  for_each_process([&](pid_t pid) {
    const auto holds = [&] {
      return read_proc_file(fmt::format("/proc/{}/cmdline", pid)).find(text) != std::string::npos;
    };
    found = found || holds();
  });
  return found;
}

void signal_shims(const std::string& attempt_id, int signal) {
  for (const FoundProcess& process : find_attempt_processes(attempt_id)) {
    if (!is_waiting_shim(process.pid, signal)) continue;
    static_cast<void>(signal_process(process.handle, signal));
  }
}

}  // namespace talaria::launch
