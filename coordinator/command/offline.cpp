// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/offline.h"

#include "coordinator/state/store.h"
#include "coordinator/supervisor/gates.h"
#include "coordinator/supervisor/run_folder.h"

namespace talaria::coordinator {
namespace {

JobView view_of(JobRow job) {
  JobView view;
  for (const StageRow& row : job.stages) {
    StageView stage;
    stage.row = row;
    if (row.attempt) {
      const RunFolder folder(row.run_directory, identity_of(job.uid, job.gid));
      if (const auto last = folder.last_metric()) {
        stage.progress.step = last->step;
        stage.progress.loss = last->loss;
        stage.progress.tokens_per_second = last->tokens_per_second;
        stage.progress.mfu = last->mfu;
      }
    }
    view.stages.push_back(std::move(stage));
  }
  view.job = std::move(job);
  return view;
}

}  // namespace

std::vector<JobView> offline_jobs(const std::filesystem::path& state_directory) {
  // A coordinator makes its folder first.
  if (!std::filesystem::exists(state_directory / "state.db")) return {};
  const Store store(state_directory / "state.db", true);
  std::vector<JobView> views;
  for (JobRow& job : store.all_jobs()) views.push_back(view_of(std::move(job)));
  return views;
}

JobView offline_job(const std::filesystem::path& state_directory, std::int64_t id) {
  const Store store(state_directory / "state.db", true);
  std::optional<JobRow> job = store.job(id);
  if (!job) fail_usage("job {}: there is none in {}", id, state_directory.string());
  JobView view = view_of(std::move(*job));
  for (StageView& stage : view.stages) stage.attempts = store.attempts(stage.row.key);
  add_graph(view);
  view.transitions = store.transitions(id);
  return view;
}

}  // namespace talaria::coordinator
