// SPDX-License-Identifier: Apache-2.0
// `talaria ps`, `show` and `watch`: what jobs are doing.
#include <algorithm>

#include <sys/ioctl.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/log.h"
#include "coordinator/command/app.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/listing.h"
#include "coordinator/command/options.h"
#include "coordinator/command/screen.h"
#include "coordinator/command/view.h"
#include "coordinator/supervisor/samples.h"

namespace talaria::coordinator {
namespace {

constexpr double kDay = 86400.0;

struct LookOptions {
  std::string word;
  std::string state_directory;
  std::string progress = "auto";
  bool all = false;
  bool json = false;
};

// Columns of the terminal that stdout is; 0 where it is none.
int output_width() { return ::isatty(STDOUT_FILENO) == 1 ? Screen(STDOUT_FILENO).width() : 0; }

bool ended_long_ago(const FoundJob& job, double now) {
  if (!ended(state_of(job.view))) return false;
  double last = 0.0;
  for (const StageView& stage : job.view.stages) last = std::max(last, stage.row.since);
  return now - last > kDay;
}

int ps(const Context& context, const LookOptions& options) {
  const double now = wall_seconds();
  std::vector<FoundJob> jobs = find_jobs(context, options.state_directory, true);
  const std::size_t before = jobs.size();
  if (!options.all)
    std::erase_if(jobs, [&](const FoundJob& job) { return ended_long_ago(job, now); });
  if (options.json) {
    fmt::print("{}\n", jobs_json(jobs));
    return kExitDone;
  }
  if (!jobs.empty()) fmt::print("{}", jobs_table(jobs, now, output_width()));
  if (jobs.empty()) log_line("no jobs");
  if (jobs.size() < before) {
    log_line(
        fmt::format("{} that ended more than a day ago: talaria ps --all", before - jobs.size()));
  }
  return kExitDone;
}

int show(const Context& context, const LookOptions& options) {
  const FoundJob job = find_job(context, options.state_directory, options.word);
  JobView view = job.look();
  add_samples(view);
  if (options.json) {
    fmt::print("{}\n", to_json(view, Detail::kAll));
  } else {
    fmt::print("{}", job_text(view, job.state_word(), wall_seconds(), output_width()));
  }
  return kExitDone;
}

int watch(const Context& context, const LookOptions& options) {
  const FoundJob job = find_job(context, options.state_directory, options.word);
  FollowOptions follow_as;
  follow_as.style = progress_style(options.progress, context.environment);
  follow_as.color = ::isatty(STDERR_FILENO) == 1 && !context.environment.no_color;
  follow_as.from_the_start = false;
  follow_as.wait_for_coordinator = job.daemon;
  if (!job.served && !ended(state_of(job.view))) {
    fail_usage("{}: nobody watches this run; go on with it: talaria run JOB.toml --run-dir {}",
               job.handle(), job.view.job.run_directory);
  }
  const JobView view = job.served ? follow(job.client(), job.view.job.id, follow_as) : job.look();
  if (options.json) fmt::print("{}\n", to_json(view, Detail::kAll));
  return report_end(view);
}

}  // namespace

void add_ps(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<LookOptions>();
  CLI::App* command = app.add_subcommand("ps", "List jobs.");
  command->add_flag("--all,-a", options->all, "also what ended more than a day ago");
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria ps --all --json",
          "The daemon's jobs, and the runs that you started without one.");
  command->callback([options, &context, &exit_code] { exit_code = ps(context, *options); });
}

void add_show(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<LookOptions>();
  CLI::App* command = app.add_subcommand(
      "show", "Tell all about a job: stages, attempts, ranks, sample answers, history.");
  add_job_word(*command, options->word);
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria show 7");
  command->callback([options, &context, &exit_code] { exit_code = show(context, *options); });
}

void add_watch(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<LookOptions>();
  CLI::App* command = app.add_subcommand("watch", "Follow a job to its end.");
  add_job_word(*command, options->word);
  command
      ->add_option("--progress", options->progress,
                   "on stderr; auto: a view on a terminal, else lines")
      ->check(CLI::IsMember({"auto", "view", "lines", "none"}))
      ->capture_default_str();
  add_state_option(*command, options->state_directory);
  add_json_flag(*command, options->json);
  example(*command, "talaria watch quickstart",
          "Exits with the job's result, as talaria run does. Ctrl-C leaves; the job goes on.");
  command->callback([options, &context, &exit_code] { exit_code = watch(context, *options); });
}

}  // namespace talaria::coordinator
