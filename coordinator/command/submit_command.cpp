// SPDX-License-Identifier: Apache-2.0
// `talaria submit`, `cancel` and `retry`: what users ask of a coordinator.
#include <csignal>

#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/command/app.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/options.h"
#include "coordinator/command/target.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {
namespace {

struct SubmitOptions {
  JobSource source;
  std::string state_directory;
  bool json = false;
};

int submit(const Context& context, const SubmitOptions& options) {
  const Client daemon = require_daemon(context, options.state_directory);
  const PreparedJob prepared = prepare_job(options.source, context.tools);
  const std::int64_t id = daemon.submit(prepared.request);
  fmt::print("{}\n", options.json ? id_json(id) : std::to_string(id));
  return kExitDone;
}

struct JobOptions {
  std::string word;
  std::string state_directory;
  bool now = false;
  bool json = false;
};

// Asks the launchers themselves: the coordinator of this run is gone.
void signal_launchers(const FoundJob& job, bool now) {
  int asked = 0;
  for (const StageView& stage : job.view.stages) {
    const std::string& run = stage.row.run_directory;
    const launch::LauncherState launcher = launch::find_launcher(run);
    if (!launcher.alive) continue;
    if (!launch::signal_launcher(run, launcher.attempt_id, now ? SIGQUIT : SIGTERM)) {
      fail_usage("{}: its attempt runs as pid {} on {}; cancel it there", run, launcher.pid,
                 launcher.host);
    }
    ++asked;
  }
  if (asked == 0) {
    fail_usage("{}: nothing of it runs; the next talaria run in {} begins anew", job.handle(),
               job.view.job.run_directory);
  }
}

int cancel(const Context& context, const JobOptions& options) {
  const FoundJob job = find_job(context, options.state_directory, options.word);
  if (ended(state_of(job.view))) {
    fail_usage("{}: it has ended already ({})", job.handle(), name(state_of(job.view)));
  }
  if (job.served) {
    job.client().wish(job.view.job.id, options.now ? Wish::kKill : Wish::kCancel, "talaria cancel");
  } else {
    signal_launchers(job, options.now);
  }
  if (options.json) {
    fmt::print("{}\n", id_json(job.view.job.id));
  } else {
    log_line(fmt::format("{}: {}", one_line(job.handle()),
                         options.now ? "its ranks are ended at once"
                                     : "its ranks stop with a checkpoint, then it is cancelled"));
  }
  return kExitDone;
}

int retry(const Context& context, const JobOptions& options) {
  const FoundJob job = find_job(context, options.state_directory, options.word);
  if (!job.daemon) {
    fail_usage("{}: no job of a daemon; start it again with: talaria run JOB.toml --run-dir {}",
               job.handle(), job.view.job.run_directory);
  }
  job.client().retry(job.view.job.id);
  if (options.json) {
    fmt::print("{}\n", id_json(job.view.job.id));
  } else {
    log_line(fmt::format("job {}: queued again", job.view.job.id));
  }
  return kExitDone;
}

}  // namespace

void add_submit(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command = app.add_subcommand("submit", "Queue a job with the daemon and print its id.");
  add_job_source(*command, options->source);
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria submit examples/gpt2-124m.toml --run-dir runs/first");
  command->callback([options, &context, &exit_code] { exit_code = submit(context, *options); });
}

void add_cancel(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<JobOptions>();
  CLI::App* command = app.add_subcommand("cancel", "End a job, with a checkpoint or at once.");
  add_job_word(*command, options->word);
  command->add_flag("--now", options->now, "without a checkpoint");
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria cancel 7");
  command->callback([options, &context, &exit_code] { exit_code = cancel(context, *options); });
}

void add_retry(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<JobOptions>();
  CLI::App* command =
      app.add_subcommand("retry", "Queue a failed, stopped or cancelled job again.");
  add_job_word(*command, options->word);
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria retry 7", "It goes on from its newest checkpoint.");
  command->callback([options, &context, &exit_code] { exit_code = retry(context, *options); });
}

}  // namespace talaria::coordinator
