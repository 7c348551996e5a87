// SPDX-License-Identifier: Apache-2.0
#include "tests/support/daemon.h"

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::testing_support {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

const std::string kTalaria = std::string(TALARIA_BIN_DIR) + "/talaria";
constexpr double kStartSeconds = 10.0;

// How often a coordinator has said in this log that it serves.
std::size_t times_served(const std::string& log) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = log.find(": serves ", at)) != std::string::npos; ++at) ++count;
  return count;
}

void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace

Captured talaria_command(const std::vector<std::string>& args, double timeout_seconds) {
  std::vector<std::string> argv = {kTalaria};
  argv.insert(argv.end(), args.begin(), args.end());
  return run_captured(argv, timeout_seconds);
}

Daemon::Daemon(fs::path state_directory, std::vector<std::string> options)
    : state_directory_(std::move(state_directory)), options_(std::move(options)) {}

Daemon::~Daemon() {
  if (!dead()) kill(SIGKILL);
}

void Daemon::start(const std::vector<std::string>& more) {
  fs::create_directories(state_directory_);
  std::vector<std::string> argv = {kTalaria, "coordinator", "--state-dir",
                                   state_directory_.string()};
  argv.insert(argv.end(), options_.begin(), options_.end());
  argv.insert(argv.end(), more.begin(), more.end());
  const std::string log = state_directory_.string() + ".log";
  append_line(log, "-- start");
  const std::size_t before = times_served(read_file(log));
  pid_ = check_sys(::fork(), "fork", kTalaria);
  if (pid_ == 0) {
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    std::vector<char*> pointers;
    for (std::string& each : argv) pointers.push_back(each.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  const double deadline = monotonic_seconds() + kStartSeconds;
  while (!dead() && monotonic_seconds() < deadline && times_served(read_file(log)) == before)
    nap(10);
}

void Daemon::kill(int signal) {
  if (pid_ == 0) return;
  ::kill(pid_, signal);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

bool Daemon::dead() {
  if (pid_ != 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
  return pid_ == 0;
}

double Daemon::cpu_seconds() const {
  // Fields 14 and 15 of /proc/PID/stat, in clock ticks; the name in field 2 may hold spaces.
  std::string text = read_file(fmt::format("/proc/{}/stat", pid_));
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Captured Daemon::ask(std::vector<std::string> args, double timeout_seconds) const {
  args.insert(args.end(), {"--state-dir", state_directory_.string()});
  return talaria_command(args, timeout_seconds);
}

json::object Daemon::show(std::int64_t job) const {
  const Captured answer = ask({"show", std::to_string(job), "--json"});
  if (answer.exit_code != 0) return {};
  return json::parse(answer.out).as_object();
}

std::string Daemon::state_of(std::int64_t job) const {
  const json::object view = show(job);
  return view.empty() ? "" : std::string(view.at("state").as_string());
}

std::string Daemon::wait_for_end(std::int64_t job, double timeout_seconds) const {
  const double deadline = monotonic_seconds() + timeout_seconds;
  while (monotonic_seconds() < deadline) {
    const std::string state = state_of(job);
    for (const char* end : {"done", "failed", "stopped", "cancelled"}) {
      if (state == end) return state;
    }
    nap(50);
  }
  return "";
}

std::string Daemon::log() const { return read_file(state_directory_.string() + ".log"); }

}  // namespace talaria::testing_support
