// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/reaper.h"

#include <algorithm>
#include <csignal>
#include <sstream>

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "launch/attempt/pidfd.h"
#include "launch/attempt/proc.h"

namespace talaria::launch {
namespace {

constexpr int kRoundMs = 20;

// A process that forks and exits faster than /proc can be read through is always one child of ours
// further; its newest is at the end of this short list. A child's number stays its own until it is
// collected.
void kill_children() {
  std::istringstream list(
      read_proc_file(fmt::format("/proc/{}/task/{}/children", ::getpid(), ::getpid())));
  for (pid_t pid = 0; list >> pid;) ::kill(pid, SIGKILL);
}

// Waits until they are dead, a round at most.
void await(const std::vector<FoundProcess>& killed) {
  const double end = monotonic_seconds() + kRoundMs / 1000.0;
  for (const FoundProcess& process : killed) {
    struct pollfd ready = {process.handle.get(), POLLIN, 0};
    const double left = end - monotonic_seconds();
    if (left <= 0.0) return;
    ::poll(&ready, 1, static_cast<int>(left * 1000.0) + 1);
  }
}

}  // namespace

bool Reaper::collect() {
  while (true) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) {
      if (errno != ECHILD) fail_errno("waitpid", "children");
      return false;
    }
    if (pid == 0) return true;
    if (pid == command_ && !status_) status_ = status;
  }
}

std::vector<pid_t> end_processes(const std::string& attempt_id, const AttemptCgroup& cgroup,
                                 Reaper& reaper, double seconds) {
  const double deadline = monotonic_seconds() + seconds;
  // One look can miss a process that was started, or is becoming another program, meanwhile.
  constexpr int kLooks = 2;
  int empty_looks = 0;
  std::vector<FoundProcess> found;
  std::vector<pid_t> grouped;
  while (true) {
    cgroup.kill();
    for (int i = 0; i < 100 && reaper.collect(); ++i) kill_children();
    found = find_attempt_processes(attempt_id);
    for (const FoundProcess& process : found) {
      static_cast<void>(signal_process(process.handle, SIGKILL));
    }
    await(found);
    grouped = cgroup.processes();
    const bool none = !reaper.collect() && found.empty() && grouped.empty();
    empty_looks = none ? empty_looks + 1 : 0;
    if (empty_looks == kLooks) return {};
    if (monotonic_seconds() > deadline) break;
    if (found.empty()) ::usleep(empty_looks > 0 ? kRoundMs * 1000 / 2 : 1000);
  }
  std::vector<pid_t> left = grouped;
  for (const FoundProcess& process : found) left.push_back(process.pid);
  std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  // Those that died since the last look.
  left.erase(std::remove_if(left.begin(), left.end(),
                            [](pid_t pid) {
                              const char state = process_state(pid);
                              return state == '\0' || state == 'Z';
                            }),
             left.end());
  return left;
}

}  // namespace talaria::launch
