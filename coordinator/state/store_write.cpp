// SPDX-License-Identifier: Apache-2.0
// The writing half of the store: every method is one transaction, and every change of a state goes
// through change_stage() or change_attempt(), which hold it against the table of legal transitions
// and write its row.
#include <algorithm>

#include "coordinator/state/store_state.h"

namespace talaria::coordinator {
namespace {

constexpr int kOfJob = -1;          // TransitionRow::stage
constexpr int kOfStage = 0;         // TransitionRow::attempt
constexpr const char* kBegin = "";  // TransitionRow::from of the first

void record(Database& database, const StageKey& key, int attempt, const char* from, const char* to,
            const std::string& reason, double now) {
  database
      .prepare(
          "INSERT INTO transitions (job, stage, attempt, time, from_state, to_state, reason)"
          " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
      .bind(key.job, key.stage, attempt, now, std::string_view(from), std::string_view(to), reason)
      .run();
}

StageState stage_state(Database& database, const StageKey& key) {
  Statement row = database.prepare("SELECT state FROM stages WHERE job = ?1 AND stage = ?2");
  row.bind(key.job, key.stage);
  TALARIA_CHECK(row.row(), "job {} has no stage {}", key.job, key.stage);
  return parse_stage_state(row.text());
}

void change_stage(Database& database, const StageKey& key, StageState from, StageState to,
                  const std::string& reason, double now) {
  TALARIA_CHECK(legal(from, to), "job {} stage {}: {} -> {} ({})", key.job, key.stage, name(from),
                name(to), reason);
  database
      .prepare(
          "UPDATE stages SET state = ?3, reason = ?4, since = ?5 WHERE job = ?1 AND stage = ?2")
      .bind(key.job, key.stage, std::string_view(name(to)), reason, now)
      .run();
  record(database, key, kOfStage, name(from), name(to), reason, now);
}

// The newest attempt of a stage; number 0, ended, where there was none.
struct Newest {
  int attempt = 0;
  AttemptState state = AttemptState::kEnded;
};

Newest newest_attempt(Database& database, const StageKey& key) {
  Statement row = database.prepare(
      "SELECT attempt, state FROM attempts WHERE job = ?1 AND stage = ?2"
      " ORDER BY attempt DESC LIMIT 1");
  row.bind(key.job, key.stage);
  Newest newest;
  if (row.row()) {
    newest.attempt = row.integer<int>();
    newest.state = parse_attempt_state(row.text());
  }
  return newest;
}

// `attempt` must be the newest: an older one has ended for good.
void change_attempt(Database& database, const StageKey& key, int attempt, AttemptState to,
                    const std::string& reason, double now) {
  const Newest newest = newest_attempt(database, key);
  TALARIA_CHECK(attempt == newest.attempt, "job {} stage {}: attempt {} is not the newest, {}",
                key.job, key.stage, attempt, newest.attempt);
  TALARIA_CHECK(legal(newest.state, to), "job {} stage {} attempt {}: {} -> {} ({})", key.job,
                key.stage, attempt, name(newest.state), name(to), reason);
  database.prepare("UPDATE attempts SET state = ?4 WHERE job = ?1 AND stage = ?2 AND attempt = ?3")
      .bind(key.job, key.stage, attempt, std::string_view(name(to)))
      .run();
  record(database, key, attempt, name(newest.state), name(to), reason, now);
}

// Throws UsageError when a job that has not ended uses the directory.
void check_directory_is_free(Database& database, const std::string& run_directory) {
  Statement row =
      database.prepare(fmt::format("SELECT id, name FROM jobs WHERE run_directory = ?1 AND EXISTS"
                                   " (SELECT 1 FROM stages WHERE job = jobs.id AND {}) LIMIT 1",
                                   kUnended));
  row.bind(run_directory);
  if (!row.row()) return;
  const auto id = row.integer<std::int64_t>();
  fail_usage(
      "run directory {}: in use by job {} ({}), which has not ended; wait for it, cancel it, "
      "or name another directory with --run-dir",
      run_directory, id, row.text());
}

std::string lines(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  return all;
}

void insert_stage(Database& database, const StageRow& stage, double now) {
  const StageState state = stage.after.empty() ? StageState::kQueued : StageState::kPending;
  database
      .prepare(
          "INSERT INTO stages (job, stage, name, kind, state, reason, since, not_before, failures,"
          " restarts, max_restarts, ranks, run_directory, gates)"
          " VALUES (?1, ?2, ?3, ?4, ?5, 'submitted', ?6, 0.0, 0, 0, ?7, ?8, ?9, ?10)")
      .bind(stage.key.job, stage.key.stage, stage.name, stage.kind, std::string_view(name(state)),
            now, stage.max_restarts, stage.ranks, stage.run_directory, lines(stage.gates))
      .run();
  database.prepare("INSERT INTO stage_files (job, stage, toml) VALUES (?1, ?2, ?3)")
      .bind(stage.key.job, stage.key.stage, stage.job_toml)
      .run();
  record(database, stage.key, kOfStage, kBegin, name(state), "submitted", now);
}

void insert_order(Database& database, const std::vector<StageRow>& stages, const StageRow& stage) {
  const auto end = stages.begin() + stage.key.stage;
  for (const std::string& before : stage.after) {
    const auto found = std::find_if(stages.begin(), end,
                                    [&](const StageRow& other) { return other.name == before; });
    if (found == end) {
      fail_usage("stage {}: after = {}: no stage above it has this name", stage.name, before);
    }
    database
        .prepare("INSERT OR IGNORE INTO stage_after (job, stage, after_stage) VALUES (?1, ?2, ?3)")
        .bind(stage.key.job, stage.key.stage, found->key.stage)
        .run();
  }
}

void set_wish(Database& database, std::int64_t job, Wish from, Wish to, const std::string& reason,
              double now) {
  database.prepare("UPDATE jobs SET wish = ?2 WHERE id = ?1")
      .bind(job, std::string_view(name(to)))
      .run();
  record(database, {job, kOfJob}, kOfStage, name(from), name(to), reason, now);
}

JobRow existing_job(const Store& store, std::int64_t id) {
  std::optional<JobRow> job = store.job(id);
  if (!job) fail_usage("job {}: there is no such job", id);
  return std::move(*job);
}

bool has_ended(const JobRow& job) {
  return std::all_of(job.stages.begin(), job.stages.end(),
                     [](const StageRow& stage) { return ended(stage.state); });
}

// The state from which a stage begins again.
StageState first_state(const JobRow& job, const StageRow& stage) {
  const auto is_done = [&](const std::string& before) {
    return std::any_of(job.stages.begin(), job.stages.end(), [&](const StageRow& other) {
      return other.name == before && other.state == StageState::kDone;
    });
  };
  return std::all_of(stage.after.begin(), stage.after.end(), is_done) ? StageState::kQueued
                                                                      : StageState::kPending;
}

}  // namespace

std::int64_t Store::submit(JobRow job, double now) {
  TALARIA_CHECK(!job.stages.empty(), "job {} without stages", job.name);
  Database& database = state_->for_writing();
  Transaction transaction(database);
  check_directory_is_free(database, job.run_directory);
  database
      .prepare(
          "INSERT INTO jobs (name, uid, gid, user, submitted, wish, run_directory,"
          " working_directory) VALUES (?1, ?2, ?3, ?4, ?5, 'run', ?6, ?7)")
      .bind(job.name, job.uid, job.gid, job.user, now, job.run_directory, job.working_directory)
      .run();
  job.id = database.last_insert_id();
  record(database, {job.id, kOfJob}, kOfStage, kBegin, name(Wish::kRun), "submitted", now);
  for (std::size_t i = 0; i < job.stages.size(); ++i) {
    StageRow& stage = job.stages[i];
    stage.key = {job.id, static_cast<int>(i)};
    insert_stage(database, stage, now);
    insert_order(database, job.stages, stage);
  }
  transaction.commit();
  return job.id;
}

void Store::wish(std::int64_t job, Wish wish, const std::string& reason, double now) {
  Database& database = state_->for_writing();
  Transaction transaction(database);
  const JobRow row = existing_job(*this, job);
  if (has_ended(row)) {
    fail_usage("job {}: has ended ({}); there is nothing to {}", job, name(row.state()),
               name(wish));
  }
  if (wish <= row.wish) return;
  set_wish(database, job, row.wish, wish, reason, now);
  transaction.commit();
}

void Store::retry(std::int64_t job, double now) {
  Database& database = state_->for_writing();
  Transaction transaction(database);
  const JobRow row = existing_job(*this, job);
  if (!has_ended(row)) {
    fail_usage("job {}: is {}; only a job that has ended can be tried again", job,
               name(row.state()));
  }
  if (row.state() == StageState::kDone) {
    fail_usage("job {}: is done; there is nothing to try again", job);
  }
  check_directory_is_free(database, row.run_directory);
  set_wish(database, job, row.wish, Wish::kRun, "retry", now);
  for (const StageRow& stage : row.stages) {
    if (stage.state == StageState::kDone) continue;
    change_stage(database, stage.key, stage.state, first_state(row, stage), "retry", now);
    database
        .prepare("UPDATE stages SET failures = 0, not_before = 0.0 WHERE job = ?1 AND stage = ?2")
        .bind(job, stage.key.stage)
        .run();
  }
  transaction.commit();
}

AttemptRow Store::plan_attempt(const StageKey& stage, int first_attempt,
                               const std::string& attempt_id, const std::string& secret,
                               double now) {
  Database& database = state_->for_writing();
  Transaction transaction(database);
  const StageState from = stage_state(database, stage);
  const Newest newest = newest_attempt(database, stage);
  TALARIA_CHECK(newest.state == AttemptState::kEnded, "job {} stage {}: attempt {} has not ended",
                stage.job, stage.stage, newest.attempt);
  AttemptRow attempt;
  attempt.stage = stage;
  attempt.attempt = std::max(first_attempt, newest.attempt + 1);
  attempt.attempt_id = attempt_id;
  attempt.secret = secret;
  attempt.planned = now;
  const std::string reason = fmt::format("attempt {}", attempt.attempt);
  change_stage(database, stage, from, StageState::kRunning, reason, now);
  database
      .prepare(
          "UPDATE stages SET not_before = 0.0, restarts = restarts + ?3"
          " WHERE job = ?1 AND stage = ?2")
      .bind(stage.job, stage.stage, from == StageState::kBackoff ? 1 : 0)
      .run();
  database
      .prepare(
          "INSERT INTO attempts (job, stage, attempt, attempt_id, secret, state, planned, ended,"
          " outcome, exit_code, reason) VALUES (?1, ?2, ?3, ?4, ?5, 'planned', ?6, 0.0, '', 0, '')")
      .bind(stage.job, stage.stage, attempt.attempt, attempt_id, secret, now)
      .run();
  record(database, stage, attempt.attempt, kBegin, name(AttemptState::kPlanned), "", now);
  transaction.commit();
  return attempt;
}

void Store::attempt_running(const StageKey& stage, int attempt, double now) {
  Database& database = state_->for_writing();
  Transaction transaction(database);
  change_attempt(database, stage, attempt, AttemptState::kRunning, "", now);
  transaction.commit();
}

void Store::end_attempt(const StageKey& stage, int attempt, const AttemptEnd& end, double now) {
  TALARIA_CHECK(ended(end.next) || end.next == StageState::kBackoff, "{}", name(end.next));
  Database& database = state_->for_writing();
  Transaction transaction(database);
  change_attempt(database, stage, attempt, AttemptState::kEnded, end.reason, now);
  database
      .prepare(
          "UPDATE attempts SET ended = ?4, outcome = ?5, exit_code = ?6, reason = ?7"
          " WHERE job = ?1 AND stage = ?2 AND attempt = ?3")
      .bind(stage.job, stage.stage, attempt, now, end.outcome, end.exit_code, end.reason)
      .run();
  change_stage(database, stage, stage_state(database, stage), end.next, end.reason, now);
  database.prepare("UPDATE stages SET not_before = ?3, failures = ?4 WHERE job = ?1 AND stage = ?2")
      .bind(stage.job, stage.stage, end.not_before, end.failures)
      .run();
  transaction.commit();
}

void Store::move(const StageKey& stage, StageState to, const std::string& reason, double now) {
  Database& database = state_->for_writing();
  Transaction transaction(database);
  TALARIA_CHECK(to != StageState::kRunning && to != StageState::kBackoff,
                "job {} stage {}: {} without an attempt", stage.job, stage.stage, name(to));
  TALARIA_CHECK(
      to == StageState::kStopping || newest_attempt(database, stage).state == AttemptState::kEnded,
      "job {} stage {}: {} with an attempt that has not ended", stage.job, stage.stage, name(to));
  change_stage(database, stage, stage_state(database, stage), to, reason, now);
  transaction.commit();
}

}  // namespace talaria::coordinator
