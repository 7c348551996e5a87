// SPDX-License-Identifier: Apache-2.0
// The reading half of the store. A list of jobs is four statements however many jobs there are:
// jobs, stages, what each waits for, newest attempts, all in the order of jobs and merged.
#include <algorithm>

#include "coordinator/state/schema.h"
#include "coordinator/state/store_state.h"

namespace talaria::coordinator {
namespace {

constexpr const char* kAttemptColumns =
    "job, stage, attempt, attempt_id, secret, state, planned, ended, outcome, exit_code, reason";

StageKey read_key(Statement& row) {
  StageKey key;
  key.job = row.integer<std::int64_t>();
  key.stage = row.integer<int>();
  return key;
}

AttemptRow read_attempt(Statement& row) {
  AttemptRow attempt;
  attempt.stage = read_key(row);
  attempt.attempt = row.integer<int>();
  attempt.attempt_id = row.text();
  attempt.secret = row.text();
  attempt.state = parse_attempt_state(row.text());
  attempt.planned = row.real();
  attempt.ended = row.real();
  attempt.outcome = row.text();
  attempt.exit_code = row.integer<int>();
  attempt.reason = row.text();
  return attempt;
}

JobRow read_job(Statement& row) {
  JobRow job;
  job.id = row.integer<std::int64_t>();
  job.name = row.text();
  job.uid = row.integer<uid_t>();
  job.gid = row.integer<gid_t>();
  job.user = row.text();
  job.submitted = row.real();
  job.wish = parse_wish(row.text());
  job.run_directory = row.text();
  job.working_directory = row.text();
  return job;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

StageRow read_stage(Statement& row) {
  StageRow stage;
  stage.key = read_key(row);
  stage.name = row.text();
  stage.kind = row.text();
  stage.state = parse_stage_state(row.text());
  stage.reason = row.text();
  stage.since = row.real();
  stage.not_before = row.real();
  stage.failures = row.integer<int>();
  stage.restarts = row.integer<int>();
  stage.max_restarts = row.integer<int>();
  stage.ranks = row.integer<int>();
  stage.run_directory = row.text();
  stage.gates = lines_of(row.text());
  return stage;
}

// Which jobs a list holds: a condition on their number, and the value of its parameter.
struct Selection {
  std::string condition;
  std::optional<std::int64_t> id;

  void bind(Statement& statement) const {
    if (id) statement.bind(*id);
  }
};

Selection all() { return {"IS NOT NULL", std::nullopt}; }
Selection unended() {
  return {fmt::format("IN (SELECT job FROM stages WHERE {})", kUnended), std::nullopt};
}
Selection one(std::int64_t id) { return {"= ?1", id}; }

// Jobs by id, while their stages and attempts are added.
class JobList {
 public:
  explicit JobList(std::vector<JobRow> jobs) : jobs_(std::move(jobs)) {}

  JobRow& job(std::int64_t id) {
    const auto at =
        std::lower_bound(jobs_.begin(), jobs_.end(), id,
                         [](const JobRow& job, std::int64_t key) { return job.id < key; });
    if (at == jobs_.end() || at->id != id)
      fail("the state has rows of job {}, but no such job", id);
    return *at;
  }
  StageRow& stage(const StageKey& key) {
    std::vector<StageRow>& stages = job(key.job).stages;
    if (key.stage < 0 || static_cast<std::size_t>(key.stage) >= stages.size()) {
      fail("the state has rows of stage {} of job {}, but no such stage", key.stage, key.job);
    }
    return stages[static_cast<std::size_t>(key.stage)];
  }
  std::vector<JobRow> take() { return std::move(jobs_); }

 private:
  std::vector<JobRow> jobs_;
};

std::vector<JobRow> read_job_rows(Database& database, const Selection& which) {
  Statement row = database.prepare(
      fmt::format("SELECT id, name, uid, gid, user, submitted, wish, run_directory,"
                  " working_directory FROM jobs WHERE id {} ORDER BY id",
                  which.condition));
  which.bind(row);
  std::vector<JobRow> jobs;
  while (row.row()) jobs.push_back(read_job(row));
  return jobs;
}

void add_stages(Database& database, const Selection& which, JobList& list) {
  Statement row = database.prepare(
      fmt::format("SELECT job, stage, name, kind, state, reason, since, not_before, failures,"
                  " restarts, max_restarts, ranks, run_directory, gates FROM stages WHERE job {}"
                  " ORDER BY job, stage",
                  which.condition));
  which.bind(row);
  while (row.row()) {
    StageRow stage = read_stage(row);
    list.job(stage.key.job).stages.push_back(std::move(stage));
  }
}

void add_order(Database& database, const Selection& which, JobList& list) {
  Statement row =
      database.prepare(fmt::format("SELECT job, stage, after_stage FROM stage_after WHERE job {}"
                                   " ORDER BY job, stage, after_stage",
                                   which.condition));
  which.bind(row);
  while (row.row()) {
    const StageKey key = read_key(row);
    const StageKey before = {key.job, row.integer<int>()};
    list.stage(key).after.push_back(list.stage(before).name);
  }
}

void add_newest_attempts(Database& database, const Selection& which, JobList& list) {
  Statement row = database.prepare(
      fmt::format("SELECT {} FROM attempts AS a WHERE job {} AND attempt = (SELECT max(attempt)"
                  " FROM attempts AS b WHERE b.job = a.job AND b.stage = a.stage)",
                  kAttemptColumns, which.condition));
  which.bind(row);
  while (row.row()) {
    AttemptRow attempt = read_attempt(row);
    list.stage(attempt.stage).attempt = std::move(attempt);
  }
}

std::vector<JobRow> read_jobs(Database& database, const Selection& which) {
  JobList list(read_job_rows(database, which));
  add_stages(database, which, list);
  add_order(database, which, list);
  add_newest_attempts(database, which, list);
  return list.take();
}

}  // namespace

StageState JobRow::state() const {
  std::vector<StageState> states;
  states.reserve(stages.size());
  for (const StageRow& stage : stages) states.push_back(stage.state);
  return job_state(states);
}

Store::Store(const std::filesystem::path& file, bool read_only)
    : state_(std::make_unique<State>(file, read_only)) {
  // A copy in memory may be upgraded, too: then every version can be looked at.
  upgrade_schema(state_->database);
}

Store::~Store() = default;

std::vector<JobRow> Store::unended_jobs() const { return read_jobs(state_->database, unended()); }

std::vector<JobRow> Store::all_jobs() const {
  std::vector<JobRow> jobs = read_jobs(state_->database, all());
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

std::optional<JobRow> Store::job(std::int64_t id) const {
  std::vector<JobRow> jobs = read_jobs(state_->database, one(id));
  if (jobs.empty()) return std::nullopt;
  JobRow& job = jobs.front();
  Statement row =
      state_->database.prepare("SELECT toml FROM stage_files WHERE job = ?1 ORDER BY stage");
  row.bind(id);
  for (StageRow& stage : job.stages) {
    if (!row.row()) fail("the state has no job file of stage {} of job {}", stage.key.stage, id);
    stage.job_toml = row.text();
  }
  return std::move(job);
}

std::vector<AttemptRow> Store::attempts(const StageKey& stage) const {
  Statement row = state_->database.prepare(fmt::format(
      "SELECT {} FROM attempts WHERE job = ?1 AND stage = ?2 ORDER BY attempt", kAttemptColumns));
  row.bind(stage.job, stage.stage);
  std::vector<AttemptRow> attempts;
  while (row.row()) attempts.push_back(read_attempt(row));
  return attempts;
}

std::vector<TransitionRow> Store::transitions(std::int64_t job) const {
  Statement row = state_->database.prepare(
      "SELECT time, stage, attempt, from_state, to_state, reason FROM transitions"
      " WHERE job = ?1 ORDER BY id");
  row.bind(job);
  std::vector<TransitionRow> transitions;
  while (row.row()) {
    TransitionRow transition;
    transition.time = row.real();
    transition.stage = row.integer<int>();
    transition.attempt = row.integer<int>();
    transition.from = row.text();
    transition.to = row.text();
    transition.reason = row.text();
    transitions.push_back(std::move(transition));
  }
  return transitions;
}

}  // namespace talaria::coordinator
