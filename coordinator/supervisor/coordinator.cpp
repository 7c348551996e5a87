// SPDX-License-Identifier: Apache-2.0
// The loop observe -> plan -> act, and what users ask for.
#include "coordinator/supervisor/coordinator.h"

#include <algorithm>
#include <utility>

#include "cluster/base/clock.h"
#include "cluster/base/config.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "coordinator/supervisor/gates.h"
#include "coordinator/supervisor/loop.h"
#include "launch/stages.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

bool may_see(const JobRow& job, const User& user) { return user.uid == 0 || user.uid == job.uid; }

StageView stage_view(const StageRow& row, const StageWatch* watch, const JobRow& job) {
  StageView view;
  view.row = row;
  if (watch != nullptr) {
    view.progress = watch->progress();
    if (view.progress.step > 0 || !row.attempt) return view;
  }
  if (!row.attempt) return view;
  const RunFolder folder(row.run_directory, identity_of(job.uid, job.gid));
  if (const auto last = folder.last_metric()) {
    view.progress.step = last->step;
    view.progress.loss = last->loss;
    view.progress.tokens_per_second = last->tokens_per_second;
    view.progress.mfu = last->mfu;
  }
  return view;
}

}  // namespace

struct Coordinator::State {
  State(boost::asio::io_context& io, const Options& options) : loop(io, options) {}

  // Throws Refusal 404 where the user has no such job.
  JobRow find(std::int64_t id, const User& user) const {
    auto job = loop.store().job(id);
    if (!job || !may_see(*job, user)) throw Refusal(404, fmt::format("job {}: there is none", id));
    return std::move(*job);
  }

  Loop loop;
};

Coordinator::Coordinator(boost::asio::io_context& io, const Options& options)
    : state_(std::make_unique<State>(io, options)) {}

Coordinator::~Coordinator() = default;

void Coordinator::start() { state_->loop.start(); }

std::int64_t Coordinator::submit(const SubmitRequest& request, const User& user) {
  const Identity identity = identity_of(user.uid, user.gid);
  JobRow job;
  try {
    const ConfigFile file = ConfigFile::parse(request.job_toml, request.file_name);
    const launch::StagedJob staged = launch::parse_stages(file);
    for (const fs::path path : {request.run_directory, request.working_directory}) {
      if (!path.is_absolute()) fail_usage("{}: not an absolute path", path.string());
    }
    job.name = staged.name;
    job.uid = user.uid;
    job.gid = user.gid;
    job.user = identity.name;
    job.working_directory = request.working_directory;
    const AsUser rights(identity);
    job.run_directory = fs::weakly_canonical(request.run_directory).string();
    for (const launch::Stage& stage : staged.stages) {
      StageRow row;
      row.name = stage.name;
      row.after = stage.after;
      for (const launch::Gate& gate : stage.gates) row.gates.push_back(launch::describe(gate));
      row.kind = stage.job.job.kind;
      row.max_restarts = stage.job.cluster.max_restarts;
      row.ranks = stage.job.cluster.ranks;
      row.run_directory =
          staged.staged ? (fs::path(job.run_directory) / stage.name).string() : job.run_directory;
      row.job_toml = stage.toml;
      const launch::LauncherState holder = launch::find_launcher(row.run_directory);
      if (holder.alive) {
        throw Refusal(409, fmt::format("{}: in use by pid {} on {}; wait for it to end, or choose "
                                       "another --run-dir",
                                       row.run_directory, holder.pid, holder.host));
      }
      job.stages.push_back(std::move(row));
    }
  } catch (const UsageError& error) {
    throw Refusal(400, error.what());
  } catch (const fs::filesystem_error& error) {
    throw Refusal(400, error.what());
  }
  try {
    const std::int64_t id = state_->loop.store().submit(std::move(job), wall_seconds());
    state_->loop.wake();
    return id;
  } catch (const UsageError& error) {
    throw Refusal(409, error.what());
  } catch (const StorageFull& error) {
    throw Refusal(507, error.what());
  }
}

std::vector<JobView> Coordinator::list(const User& user, bool all) const {
  std::vector<JobView> views;
  for (JobRow& job : all ? state_->loop.store().all_jobs() : state_->loop.store().unended_jobs()) {
    if (!may_see(job, user)) continue;
    JobView view;
    for (const StageRow& row : job.stages) {
      view.stages.push_back(stage_view(row, state_->loop.watch(row.key), job));
    }
    view.job = std::move(job);
    views.push_back(std::move(view));
  }
  std::sort(views.begin(), views.end(),
            [](const JobView& a, const JobView& b) { return a.job.id > b.job.id; });
  return views;
}

JobView Coordinator::show(std::int64_t id, const User& user) const {
  const double now = monotonic_seconds();
  JobView view;
  view.job = state_->find(id, user);
  for (const StageRow& row : view.job.stages) {
    const StageWatch* const watch = state_->loop.watch(row.key);
    view.stages.push_back(stage_view(row, watch, view.job));
    view.stages.back().attempts = state_->loop.store().attempts(row.key);
    if (watch != nullptr) view.stages.back().ranks = watch->rank_views(now);
  }
  add_graph(view);
  view.transitions = state_->loop.store().transitions(id);
  view.notice = state_->loop.notice();
  return view;
}

void Coordinator::wish(std::int64_t id, Wish wish, const std::string& reason, const User& user) {
  static_cast<void>(state_->find(id, user));
  try {
    state_->loop.store().wish(id, wish, reason, wall_seconds());
  } catch (const UsageError& error) {
    throw Refusal(409, error.what());
  } catch (const StorageFull& error) {
    throw Refusal(507, error.what());
  }
  state_->loop.wake();
}

void Coordinator::retry(std::int64_t id, const User& user) {
  const JobRow job = state_->find(id, user);
  const StageState state = job.state();
  if (!ended(state) || state == StageState::kDone) {
    throw Refusal(409,
                  fmt::format("job {}: it is {}; only a failed, stopped or cancelled job can be "
                              "tried again",
                              id, name(state)));
  }
  try {
    state_->loop.store().retry(id, wall_seconds());
  } catch (const UsageError& error) {
    throw Refusal(409, error.what());
  } catch (const StorageFull& error) {
    throw Refusal(507, error.what());
  }
  state_->loop.wake();
}

}  // namespace talaria::coordinator
