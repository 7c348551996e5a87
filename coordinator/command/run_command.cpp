// SPDX-License-Identifier: Apache-2.0
// `talaria run`: a job from its file to its end. A daemon that answers runs it, else a coordinator
// inside this process; both are followed through the same client.
#include <csignal>
#include <cstdio>
#include <optional>

#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/command/app.h"
#include "coordinator/command/embedded.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/offline.h"
#include "coordinator/command/options.h"
#include "coordinator/command/registry.h"
#include "coordinator/command/target.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

// While it is waited for, signals wait too.
constexpr double kAnswerSeconds = 10.0;

struct RunOptions {
  JobSource source;
  std::string progress = "auto";
  std::string state_directory;
  std::string advertised;
  bool no_daemon = false;
  bool json = false;
  launch::Tools tools;
};

void make_private_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  if (error) {
    fail_usage("{}: cannot make the run directory: {}", folder.parent_path().string(),
               error.message());
  }
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail_errno("mkdir", folder.string());
}

// Only `ps` needs it: a user without a home may still run a job.
void note_run(const Environment& environment, const fs::path& run) {
  const fs::path folder = user_state_folder(environment);
  try {
    if (!folder.empty()) register_run(folder / "runs", run.string());
  } catch (const Error& error) {
    log_warning("talaria ps will not list this run: {}", one_line(error.what()));
  }
}

// The job that a coordinator which died has left unended in this run directory.
std::optional<JobView> left_over(const fs::path& state) {
  for (const JobView& view : offline_jobs(state)) {
    if (!ended(state_of(view))) return offline_job(state, view.job.id);
  }
  return std::nullopt;
}

// The same stages with the same effective job files.
bool same_job(const JobView& left, const launch::StagedJob& job) {
  if (left.stages.size() != job.stages.size()) return false;
  for (std::size_t i = 0; i < job.stages.size(); ++i) {
    if (left.stages[i].row.job_toml != job.stages[i].toml) return false;
  }
  return true;
}

bool is_alive(const JobView& view) {
  for (const StageView& stage : view.stages) {
    if (launch::find_launcher(stage.row.run_directory).alive) return true;
  }
  return false;
}

FollowOptions follow_options(const RunOptions& options, const Context& context) {
  FollowOptions follow;
  follow.style = progress_style(options.progress, context.environment);
  follow.color = ::isatty(STDERR_FILENO) == 1 && !context.environment.no_color;
  follow.signals_stop = true;
  return follow;
}

JobView run_with_daemon(const Client& daemon, const PreparedJob& prepared,
                        const FollowOptions& follow_as) {
  const std::int64_t id = daemon.submit(prepared.request);
  log_line(fmt::format("job {} of the coordinator at {}; run directory {}", id,
                       one_line(daemon.state_directory().string()),
                       one_line(prepared.request.run_directory)));
  return follow(daemon, id, follow_as);
}

// What goes on, or is submitted anew where the job left over is another.
std::int64_t begin(const Client& client, const PreparedJob& prepared,
                   const std::optional<JobView>& left, const FollowOptions& follow_as) {
  if (left && same_job(*left, prepared.job)) return left->job.id;
  if (left) {
    // It cannot be the one that the user asks for, and nothing of it runs: it is over.
    client.wish(left->job.id, Wish::kKill, "talaria run with another job file");
    FollowOptions silent = follow_as;
    silent.style = ProgressStyle::kNone;
    silent.signals_stop = false;
    follow(client, left->job.id, silent);
  }
  return client.submit(prepared.request);
}

JobView run_embedded(const Context& context, const RunOptions& options, const PreparedJob& prepared,
                     FollowOptions follow_as) {
  const fs::path run = prepared.request.run_directory;
  const fs::path state = embedded_state(run);
  make_private_folder(state);
  note_run(context.environment, run);
  const std::optional<JobView> left = left_over(state);
  const bool adopts = left && same_job(*left, prepared.job);
  if (left && !adopts && is_alive(*left) && !Client(state).answers()) {
    fail_usage("{}: an attempt with another job file still runs; end it first: talaria cancel {}",
               run.string(), run.string());
  }
  if (adopts) {
    log_line(fmt::format("goes on with the run that was left in {}", one_line(run.string())));
  } else {
    log_line(fmt::format("run directory {}", one_line(run.string())));
  }
  block_stop_signals();
  Options coordinator;
  coordinator.state_directory = state;
  coordinator.tools = options.tools;
  coordinator.advertised = options.advertised;
  Embedded embedded(context.parts.make_service, coordinator);
  const Client client(state, kAnswerSeconds);
  follow_as.fd = embedded.screen();
  follow_as.wait_for_coordinator = false;
  follow_as.check = [&embedded] { embedded.check(); };
  return follow(client, begin(client, prepared, left, follow_as), follow_as);
}

int run(const Context& context, const RunOptions& options) {
  const PreparedJob prepared = prepare_job(options.source, options.tools);
  // The end of whoever reads the progress is no reason to end the run.
  ::signal(SIGPIPE, SIG_IGN);
  const FollowOptions follow_as = follow_options(options, context);
  std::optional<Client> daemon;
  if (!options.no_daemon) daemon = find_daemon(context, options.state_directory);
  if (daemon) block_stop_signals();
  const JobView view = daemon ? run_with_daemon(*daemon, prepared, follow_as)
                              : run_embedded(context, options, prepared, follow_as);
  if (options.json) fmt::print("{}\n", to_json(view, Detail::kAll));
  return report_end(view);
}

}  // namespace

void add_run(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<RunOptions>();
  options->tools = context.tools;
  CLI::App* command = app.add_subcommand("run", "Run a job and show its progress.");
  add_job_source(*command, options->source);
  command
      ->add_option("--progress", options->progress,
                   "on stderr; auto: a view on a terminal, else lines")
      ->check(CLI::IsMember({"auto", "view", "lines", "none"}))
      ->capture_default_str();
  command->add_flag("--no-daemon", options->no_daemon,
                    "serve the run from this process, also where a daemon answers");
  add_state_option(*command, options->state_directory);
  add_advertise_option(*command, options->advertised);
  add_tool_options(*command, options->tools);
  add_json_flag(*command, options->json);
  example(*command, "talaria run examples/quickstart.toml --set train.steps=200",
          "Exits with the job's result: 0 done, 1 failed, 75 stopped early. Ctrl-C stops it with "
          "a\ncheckpoint, a second one at once. A daemon that answers runs the job, else this "
          "process does.");
  command->callback([options, &context, &exit_code] { exit_code = run(context, *options); });
}

}  // namespace talaria::coordinator
