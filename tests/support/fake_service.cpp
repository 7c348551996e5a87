// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_service.h"

#include <chrono>
#include <thread>

#include "cluster/base/clock.h"

namespace talaria::coordinator {

JobView fake_job(const std::string& name, uid_t uid, double now) {
  JobView view;
  view.job.name = name;
  view.job.uid = uid;
  view.job.gid = uid;
  view.job.user = uid == 0 ? "root" : "user" + std::to_string(uid);
  view.job.submitted = now;
  view.job.run_directory = "/runs/" + name;
  view.job.working_directory = "/";
  StageView stage;
  stage.row.name = name;
  stage.row.kind = "pretrain";
  stage.row.state = StageState::kQueued;
  stage.row.reason = "submitted";
  stage.row.since = now;
  stage.row.ranks = 8;
  stage.row.run_directory = view.job.run_directory;
  view.stages.push_back(stage);
  view.job.stages.push_back(stage.row);
  view.transitions = {{now, -1, 0, "", "run", "submitted"}, {now, 0, 0, "", "queued", "submitted"}};
  return view;
}

const JobView& FakeService::find(std::int64_t job, const User& user) const {
  const auto at = jobs_.find(job);
  if (at == jobs_.end() || (user.uid != 0 && at->second.job.uid != user.uid)) {
    throw Refusal(404, "job " + std::to_string(job) + ": there is none");
  }
  return at->second;
}

JobView& FakeService::at(std::int64_t job) { return jobs_.at(job); }

std::int64_t FakeService::add(JobView view) {
  const std::int64_t id = static_cast<std::int64_t>(jobs_.size()) + 1;
  view.job.id = id;
  for (StageView& stage : view.stages) stage.row.key.job = id;
  jobs_[id] = std::move(view);
  return id;
}

std::int64_t FakeService::submit(const SubmitRequest& request, const User& user) {
  if (request.job_toml.empty()) throw Refusal(400, "job_toml: empty");
  for (const auto& [id, view] : jobs_) {
    if (view.job.run_directory == request.run_directory && !ended(view.stages[0].row.state)) {
      throw Refusal(409, "run directory in use by job " + std::to_string(id));
    }
  }
  JobView view = fake_job("fake", user.uid, wall_seconds());
  view.job.run_directory = request.run_directory;
  view.job.working_directory = request.working_directory;
  view.stages[0].row.run_directory = request.run_directory;
  return add(view);
}

std::vector<JobView> FakeService::list(const User& user, bool all) const {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds_a_request));
  std::vector<JobView> views;
  for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) {
    const JobView& view = at->second;
    if (user.uid != 0 && view.job.uid != user.uid) continue;
    if (all || !ended(view.stages[0].row.state)) views.push_back(view);
  }
  return views;
}

JobView FakeService::show(std::int64_t job, const User& user) const { return find(job, user); }

void FakeService::wish(std::int64_t job, Wish wish, const std::string& reason, const User& user) {
  if (ended(find(job, user).stages[0].row.state)) throw Refusal(409, "it has ended");
  JobView& view = jobs_.at(job);
  view.transitions.push_back({wall_seconds(), -1, 0, name(view.job.wish), name(wish), reason});
  view.job.wish = wish;
}

void FakeService::retry(std::int64_t job, const User& user) {
  if (!ended(find(job, user).stages[0].row.state)) throw Refusal(409, "it has not ended");
  move(job, StageState::kQueued, "retry", wall_seconds());
}

void FakeService::move(std::int64_t job, StageState to, const std::string& reason, double time) {
  JobView& view = jobs_.at(job);
  StageRow& row = view.stages[0].row;
  view.transitions.push_back({time, 0, 0, name(row.state), name(to), reason});
  row.state = to;
  row.reason = reason;
  row.since = time;
}

void FakeService::begin_attempt(std::int64_t job, double time) {
  JobView& view = jobs_.at(job);
  StageView& stage = view.stages[0];
  AttemptRow attempt;
  attempt.stage = stage.row.key;
  attempt.attempt = static_cast<int>(stage.attempts.size()) + 1;
  attempt.attempt_id = "j1-s0-" + std::to_string(attempt.attempt);
  attempt.secret = "not to be seen";
  attempt.state = AttemptState::kRunning;
  attempt.planned = time;
  stage.attempts.push_back(attempt);
  stage.row.attempt = attempt;
  if (stage.row.state != StageState::kRunning) move(job, StageState::kRunning, "", time);
  view.transitions.push_back({time, 0, attempt.attempt, "planned", "running", ""});
}

}  // namespace talaria::coordinator
