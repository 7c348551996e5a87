// SPDX-License-Identifier: Apache-2.0
// The coordinator's memory: jobs, stages, attempts and transitions in one SQLite database. Every
// change is one transaction that also writes its transition rows (time, from, to, reason); an
// illegal transition is a bug. WAL, synchronous=FULL. Used by one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "cluster/base/error.h"
#include "coordinator/state/states.h"

namespace talaria::coordinator {

// The disk is full or the file cannot be written: nothing was changed; try again later.
class StorageFull : public Error {
 public:
  using Error::Error;
};

struct StageKey {
  std::int64_t job = 0;
  int stage = 0;  // 0, 1, ... in the order of the file
  auto operator<=>(const StageKey&) const = default;
};

struct AttemptRow {
  StageKey stage;
  int attempt = 1;  // fencing number
  std::string attempt_id;
  std::string secret;
  AttemptState state = AttemptState::kPlanned;
  double planned = 0.0;  // wall seconds
  double ended = 0.0;
  std::string outcome;  // outcome_name(), "" before the end
  int exit_code = 0;
  std::string reason;
};

struct StageRow {
  StageKey key;
  std::string name;
  std::vector<std::string> after;
  std::vector<std::string> gates;  // "reward.accuracy >= 0.6": judged before it starts
  std::string kind;                // "pretrain"
  StageState state = StageState::kPending;
  std::string reason;
  double since = 0.0;       // wall seconds of the last transition
  double not_before = 0.0;  // in backoff: when the next attempt may start
  int failures = 0;         // in a row, without a new checkpoint between
  int restarts = 0;         // of the stage so far, for people
  int max_restarts = 3;
  int ranks = 1;
  std::string run_directory;          // absolute, the stage's own
  std::string job_toml;               // the stage's own job file; left empty in lists of jobs
  std::optional<AttemptRow> attempt;  // the newest
};

struct JobRow {
  std::int64_t id = 0;
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string user;
  double submitted = 0.0;
  Wish wish = Wish::kRun;
  std::string run_directory;  // absolute, canonical; unique among jobs that have not ended
  std::string working_directory;
  std::vector<StageRow> stages;

  StageState state() const;
};

struct TransitionRow {
  double time = 0.0;
  int stage = -1;   // -1: of the job (a wish)
  int attempt = 0;  // 0: of the stage
  std::string from;
  std::string to;
  std::string reason;
};

// How an attempt's end is recorded, in one transaction: the attempt is ended, its stage goes on.
struct AttemptEnd {
  std::string outcome;
  int exit_code = 0;
  std::string reason;
  StageState next = StageState::kFailed;  // kDone, kBackoff, kFailed, kStopped, kCancelled
  double not_before = 0.0;
  int failures = 0;
};

class Store {
 public:
  // Opens or makes the file (mode 0600) and brings its schema to the newest version. Throws Error,
  // naming both versions, for a file of a newer program. `read_only`: for looking at a state nobody
  // serves; reads a copy of it made now, in memory, and touches no file; no call that writes may
  // follow.
  explicit Store(const std::filesystem::path& file, bool read_only = false);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Stages come filled but for key and state; those without `after` begin queued, the others
  // pending; `after` names earlier stages. Throws UsageError when an unended job has this run
  // directory. Returns the id.
  std::int64_t submit(JobRow job, double now);

  std::vector<JobRow> unended_jobs() const;  // by id
  std::vector<JobRow> all_jobs() const;      // newest first
  std::optional<JobRow> job(std::int64_t id) const;
  std::vector<AttemptRow> attempts(const StageKey& stage) const;   // oldest first
  std::vector<TransitionRow> transitions(std::int64_t job) const;  // oldest first

  // A wish that is not stronger than the one there is changes nothing. Throws UsageError for a job
  // that has ended, and for no job.
  void wish(std::int64_t job, Wish wish, const std::string& reason, double now);
  // Back to queued (pending where `after` is not done), wish run, failures 0. Stages that are done
  // stay. Throws UsageError for a job that has not ended or is done, where another unended job has
  // the run directory, and for no job.
  void retry(std::int64_t job, double now);
  // queued or backoff -> running, with a new attempt row. Attempt numbers grow from
  // `first_attempt`. Out of backoff it counts as a restart.
  AttemptRow plan_attempt(const StageKey& stage, int first_attempt, const std::string& attempt_id,
                          const std::string& secret, double now);
  void attempt_running(const StageKey& stage, int attempt, double now);
  void end_attempt(const StageKey& stage, int attempt, const AttemptEnd& end, double now);
  // Every other transition of a stage; while an attempt has not ended only the one to stopping.
  void move(const StageKey& stage, StageState to, const std::string& reason, double now);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// For tests: the process dies (SIGKILL) before (even) or after (odd) its n/2-th SQL statement, n
// from 0; n < 0: never.
void arm_statement_crash(std::int64_t n);
// How many statements this process has executed; COMMIT and the like are statements, too.
std::int64_t statements_executed();

}  // namespace talaria::coordinator
