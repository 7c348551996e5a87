// SPDX-License-Identifier: Apache-2.0
// The effects of a plan's actions: one transaction of the store, then one thing done to the world
// that may be done again.
#include <csignal>
#include <random>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/supervisor/loop.h"
#include "coordinator/supervisor/spawn.h"

namespace talaria::coordinator {
namespace {

// `bytes` random bytes in hexadecimal, from the system's generator.
std::string random_hex(int bytes) {
  std::random_device device;
  std::string text;
  for (int i = 0; i < bytes; ++i) text += fmt::format("{:02x}", device() & 0xFFU);
  return text;
}

std::string attempt_id(const StageKey& stage) {
  return fmt::format("j{}-s{}-{}", stage.job, stage.stage, random_hex(8));
}

launch::AttemptSpec make_spec(const StageWatch& watch, const JobRow& job, const StageRow& stage,
                              const launch::Tools& tools, const std::string& channel) {
  const AttemptRow& attempt = watch.attempt();
  launch::AttemptSpec spec;
  spec.attempt_id = attempt.attempt_id;
  spec.attempt = attempt.attempt;
  spec.ranks = stage.ranks;
  spec.nodes = launch::node_count(watch.job());
  spec.run_directory = stage.run_directory;
  spec.working_directory = job.working_directory;
  spec.job_toml = watch.job_toml();
  spec.secret = attempt.secret;
  spec.channel = channel;
  const launch::CommandLine command =
      launch::mpirun_command(watch.job(), tools, stage.run_directory, attempt.attempt,
                             attempt.attempt_id, launch::attempt_scratch(attempt.attempt_id));
  spec.argv = command.argv;
  spec.environment = command.environment;
  spec.memory_limit = watch.job().memory_limit();
  spec.stopped_seconds = watch.job().monitor.stopped_seconds;
  spec.stop_grace_seconds = watch.job().monitor.stop_grace_seconds;
  return spec;
}

// What a launcher that has ended said on its standard error.
std::string errors_of(int fd) {
  char buffer[2048];
  const ssize_t got = ::pread(fd, buffer, sizeof buffer, 0);
  return got <= 0 ? "" : one_line({buffer, static_cast<std::size_t>(got)});
}

}  // namespace

void Loop::act(const Action& action) {
  const StageKey& stage = action.stage;
  try {
    switch (action.kind) {
      case Action::Kind::kMove:
        store_.move(stage, action.to, action.reason, wall_seconds());
        if (action.to == StageState::kFailed) {
          log_info("job {}: {}: {}", stage.job, row_of(stage).name, one_line(action.reason));
        }
        break;
      case Action::Kind::kStart:
        start_attempt(stage);
        break;
      case Action::Kind::kLaunch:
        launch(stage);
        break;
      case Action::Kind::kRunning:
        store_.attempt_running(stage, row_of(stage).attempt->attempt, wall_seconds());
        break;
      case Action::Kind::kEnd:
        end_attempt(stage, action.end);
        break;
      case Action::Kind::kAskStop:
      case Action::Kind::kKill: {
        if (row_of(stage).state != StageState::kStopping) {
          store_.move(stage, StageState::kStopping, action.reason, wall_seconds());
        }
        const bool kill = action.kind == Action::Kind::kKill;
        StageWatch& watch = watch_of(stage);
        watch.asked = true;
        if (kill) watch.killed = monotonic_seconds();
        signal(stage, kill ? SIGQUIT : SIGTERM);
        for (RankListener* listener : {listener_.get(), wide_listener_.get()}) {
          if (!kill && listener != nullptr) listener->stop(watch.attempt().attempt_id);
        }
        break;
      }
    }
  } catch (const StorageFull&) {
    throw;
  } catch (const Error& error) {
    complain(fmt::format("job {}", stage.job), error.what());
  }
}

// Only records the attempt: the next plan launches it, as it would after a crash right here.
void Loop::start_attempt(const StageKey& stage) {
  const JobRow& job = job_of(stage);
  const RunFolder folder(row_of(stage).run_directory, identity_of(job.uid, job.gid));
  store_.plan_attempt(stage, folder.newest_attempt() + 1, attempt_id(stage), random_hex(16),
                      wall_seconds());
}

void Loop::launch(const StageKey& stage) {
  StageWatch& watch = watch_of(stage);
  ++watch.launches;
  watch.last_launch = wall_seconds();
  const launch::AttemptSpec spec =
      make_spec(watch, job_of(stage), row_of(stage), options_.tools, channel_address(watch.job()));
  LauncherChild child = spawn_launcher(options_.tools.launch, spec, watch.folder().user());
  log_info("job {}: attempt {} of {}: launcher is pid {}", stage.job, spec.attempt,
           spec.run_directory, child.pid);
  watch.launcher_end =
      std::make_unique<boost::asio::posix::stream_descriptor>(io_, child.pidfd.release());
  auto errors = std::make_shared<UniqueFd>(std::move(child.errors));
  watch.launcher_end->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                 [this, errors, pid = child.pid,
                                  id = spec.attempt_id](const boost::system::error_code& error) {
                                   ::waitpid(pid, nullptr, WNOHANG);
                                   if (error) return;
                                   if (StageWatch* const ended = find_attempt(id)) {
                                     ended->launcher_error = errors_of(errors->get());
                                     ended->launcher_end.reset();
                                   }
                                   timer_.cancel();  // look at once
                                 });
}

void Loop::end_attempt(const StageKey& stage, const AttemptEnd& end) {
  StageWatch& watch = watch_of(stage);
  store_.end_attempt(stage, watch.attempt().attempt, end, wall_seconds());
  log_info("job {}: attempt {} {}{}{}", stage.job, watch.attempt().attempt, end.outcome,
           end.reason.empty() ? "" : ": ", one_line(end.reason));
  if (end.outcome == launch::outcome_name(launch::Outcome::kFailed) && !watch.hang) {
    record_failure(watch, end);
  }
}

void Loop::record_failure(const StageWatch& watch, const AttemptEnd& end) const {
  RunEvent event;
  event.time = wall_seconds();
  event.attempt = watch.attempt().attempt;
  event.kind = "failure";
  event.text = end.reason;
  try {
    if (const auto report = watch.folder().exit_report(event.attempt)) {
      if (report->failed > 0.0) event.detected_seconds = event.time - report->failed;
      if (report->first) {
        event.rank = report->first->rank;
        event.phase = report->first->phase;
        event.step = report->first->step;
        event.signal = report->first->signal;
      }
    }
  } catch (const Error&) {  // a damaged report: `end` says so
  }
  watch.folder().record(event);
}

void Loop::signal(const StageKey& stage, int signal) {
  const StageWatch& watch = watch_of(stage);
  watch.folder().signal_launcher(watch.attempt().attempt_id, signal);
}

}  // namespace talaria::coordinator
