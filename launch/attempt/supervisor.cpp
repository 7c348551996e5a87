// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/supervisor.h"

#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/proc.h"
#include "launch/attempt/small_file.h"

namespace talaria::launch {
namespace {

constexpr double kLookSeconds = 1.0;      // at the latest, whatever was heard
constexpr double kDeafLookSeconds = 0.2;  // without inotify
constexpr double kLastWordSeconds = 0.3;  // for the command's message about a failed rank
constexpr double kFinishSeconds = 5.0;    // for the command after its last rank
constexpr double kWindDownSeconds = 5.0;  // for mpirun to end the ranks of other nodes

constexpr int kStopSignals[] = {SIGTERM, SIGINT, SIGUSR1};

sigset_t launcher_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kStopSignals) ::sigaddset(&set, signal);
  for (const int signal : {SIGQUIT, SIGUSR2, SIGCHLD, SIGHUP}) ::sigaddset(&set, signal);
  return set;
}

bool is_pending(int signal) {
  sigset_t waiting;
  check_sys(::sigpending(&waiting), "sigpending", "requests");
  return ::sigismember(&waiting, signal) == 1;
}

bool is_over(double since, double seconds) {
  return since >= 0.0 && monotonic_seconds() - since >= seconds;
}

// Sets `since` to now where `holds` begins, to never where it does not hold.
void note(double& since, bool holds) {
  if (!holds) {
    since = -1.0;
  } else if (since < 0.0) {
    since = monotonic_seconds();
  }
}

}  // namespace

void block_launcher_signals() {
  const sigset_t set = launcher_signals();
  check_sys(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask", "requests");
}

bool stop_is_requested() {
  return std::any_of(std::begin(kStopSignals), std::end(kStopSignals), is_pending);
}

bool end_is_requested() { return is_pending(SIGQUIT); }

Supervisor::Supervisor(const AttemptSpec& spec, Reaper& reaper, RankRecords& records)
    : spec_(spec),
      folder_(attempt_folder(spec.run_directory, spec.attempt)),
      reaper_(reaper),
      records_(records),
      files_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  const sigset_t set = launcher_signals();
  signals_.reset(check_sys(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd", ""));
  // A record appears by a rename; the name of a log, while a stop waits to be passed on.
  if (files_ && ::inotify_add_watch(files_.get(), folder_.c_str(), IN_MOVED_TO | IN_CREATE) < 0) {
    files_.reset();
  }
  records_.look();
}

void Supervisor::hear_signals() {
  struct signalfd_siginfo info {};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGQUIT) end_requested_ = true;
    if (signal == SIGUSR2) signal_shims(spec_.attempt_id, SIGUSR2);
    if (std::count(std::begin(kStopSignals), std::end(kStopSignals), signal) > 0) request_stop();
  }
}

void Supervisor::read_new_files() {
  if (!files_) return;
  alignas(struct inotify_event) char buffer[1 << 14];
  while (true) {
    const ssize_t got = ::read(files_.get(), buffer, sizeof buffer);
    if (got <= 0) return;
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const struct inotify_event*>(buffer + at);
      if (event->len > 0) records_.look_at(event->name);
      at += static_cast<ssize_t>(sizeof *event + event->len);
    }
  }
}

// A rank that is there hears of it at once; one that still starts finds the file (on a disk so full
// that there is none, it is asked by the coordinator alone). Nothing is sent through mpirun while a
// rank is starting: the signal would kill it.
void Supervisor::request_stop() {
  if (stop_requested_ >= 0.0) return;
  stop_requested_ = monotonic_seconds();
  log_info("stop requested");
  try {
    write_small_file(folder_ / "stop", 0644, "", false);
  } catch (const Error& error) {
    log_warning("{}", error.what());
  }
  signal_shims(spec_.attempt_id, SIGUSR1);
}

void Supervisor::forward_stop() {
  if (stop_requested_ < 0.0 || stop_forwarded_ || spec_.nodes == 1) return;
  for (int rank = 0; rank < spec_.ranks; ++rank) {
    // A rank that has its log has its signals blocked.
    if (::access((folder_ / rank_file(rank, ".log")).c_str(), F_OK) != 0) return;
  }
  stop_forwarded_ = true;
  ::kill(reaper_.command(), SIGUSR1);
}

std::string Supervisor::look() {
  static_cast<void>(reaper_.collect());
  forward_stop();
  if (reaper_.command_status()) {
    over_ = true;
    return {};
  }
  note(failed_, records_.any_failure());
  note(all_ended_, records_.complete());
  note(command_stopped_, process_state(reaper_.command()) == 'T');
  over_ = true;
  if (end_requested_) return "ended at once, as requested (SIGQUIT)";
  if (is_over(failed_, kLastWordSeconds) || is_over(all_ended_, kFinishSeconds)) return {};
  if (is_over(command_stopped_, spec_.stopped_seconds)) {
    return fmt::format("{} (pid {}) was stopped for {:g} s (SIGSTOP)", spec_.argv[0],
                       reaper_.command(), spec_.stopped_seconds);
  }
  if (is_over(stop_requested_, spec_.stop_grace_seconds)) {
    return fmt::format("the ranks had not stopped {:g} s after they were asked to",
                       spec_.stop_grace_seconds);
  }
  over_ = false;
  return {};
}

double Supervisor::seconds_to_look_again() const {
  double seconds = files_ ? kLookSeconds : kDeafLookSeconds;
  const auto until = [&seconds](double since, double limit) {
    if (since >= 0.0) seconds = std::min(seconds, since + limit - monotonic_seconds());
  };
  until(failed_, kLastWordSeconds);
  until(all_ended_, kFinishSeconds);
  until(command_stopped_, spec_.stopped_seconds);
  until(stop_requested_, spec_.stop_grace_seconds);
  return std::max(seconds, 0.0);
}

// Only mpirun reaches the other nodes. When a rank has failed it is ending them already, and a
// signal on top of that would make it leave them.
void Supervisor::wind_down_nodes(bool ask) {
  if (spec_.nodes == 1 || reaper_.command_status()) return;
  if (ask) {
    ::kill(reaper_.command(), SIGTERM);
    ::kill(reaper_.command(), SIGCONT);
  }
  const double end = monotonic_seconds() + kWindDownSeconds;
  while (!reaper_.command_status() && monotonic_seconds() < end) {
    struct pollfd ready = {signals_.get(), POLLIN, 0};
    ::poll(&ready, 1, 100);
    hear_signals();
    static_cast<void>(reaper_.collect());
  }
}

std::string Supervisor::wait() {
  double looked = monotonic_seconds();
  while (true) {
    hear_signals();
    read_new_files();
    const double seconds = files_ ? kLookSeconds : kDeafLookSeconds;
    if (is_over(looked, seconds)) {
      records_.look();
      looked = monotonic_seconds();
    }
    std::string cause = look();
    if (over_) {
      wind_down_nodes(!cause.empty());
      return cause;
    }
    struct pollfd ready[2] = {{signals_.get(), POLLIN, 0}, {files_.get(), POLLIN, 0}};
    const int timeout = static_cast<int>(seconds_to_look_again() * 1000.0) + 1;
    if (::poll(ready, 2, timeout) < 0 && errno != EINTR) fail_errno("poll", "the attempt");
  }
}

}  // namespace talaria::launch
