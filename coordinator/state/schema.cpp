// SPDX-License-Identifier: Apache-2.0
// A file's version is its PRAGMA user_version. A new file goes through all versions, too, so there
// is one way to make a schema. A released migration is never edited: add one.
//
//   jobs         id                 grows, never used again
//                name, uid, gid, user
//                submitted          wall seconds, as all times
//                wish               run, stop, cancel, kill
//                run_directory      unique among jobs that have not ended (submit and retry check)
//                working_directory
//   stages       job, stage         0, 1, ... in the order of the job file
//                name, kind, ranks, max_restarts, run_directory
//                gates              what must hold before it starts, a line each
//                state, reason, since    as of the last transition
//                not_before         in backoff: the next attempt's earliest start
//                failures           in a row, without a new checkpoint between
//                restarts           attempts that followed a backoff
//   stage_files  job, stage, toml   the stage's effective job file: apart, so that lists stay quick
//   stage_after  job, stage, after_stage    the number of a stage that must be done before it
//   attempts     job, stage, attempt     the fencing number
//                attempt_id         unique for ever
//                secret             of the rank channel
//                state              planned, running, ended
//                planned, ended     times; 0 before the end
//                outcome, exit_code, reason   of the end
//   transitions  id                 in the order of events
//                job, stage (-1: the job's wish), attempt (0: the stage)
//                time, from_state ("" at the beginning), to_state, reason
#include "coordinator/state/schema.h"

#include <array>
#include <span>

namespace talaria::coordinator {
namespace {

constexpr const char* kVersion1[] = {
    R"(CREATE TABLE jobs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      name TEXT NOT NULL,
      uid INTEGER NOT NULL,
      gid INTEGER NOT NULL,
      user TEXT NOT NULL,
      submitted REAL NOT NULL,
      wish TEXT NOT NULL,
      run_directory TEXT NOT NULL,
      working_directory TEXT NOT NULL
    ) STRICT)",
    R"(CREATE TABLE stages (
      job INTEGER NOT NULL REFERENCES jobs (id),
      stage INTEGER NOT NULL,
      name TEXT NOT NULL,
      state TEXT NOT NULL,
      reason TEXT NOT NULL,
      since REAL NOT NULL,
      not_before REAL NOT NULL,
      failures INTEGER NOT NULL,
      max_restarts INTEGER NOT NULL,
      ranks INTEGER NOT NULL,
      run_directory TEXT NOT NULL,
      PRIMARY KEY (job, stage)
    ) STRICT)",
    R"(CREATE TABLE stage_files (
      job INTEGER NOT NULL,
      stage INTEGER NOT NULL,
      toml TEXT NOT NULL,
      PRIMARY KEY (job, stage),
      FOREIGN KEY (job, stage) REFERENCES stages (job, stage)
    ) STRICT)",
    R"(CREATE TABLE stage_after (
      job INTEGER NOT NULL,
      stage INTEGER NOT NULL,
      after_stage INTEGER NOT NULL,
      PRIMARY KEY (job, stage, after_stage),
      FOREIGN KEY (job, stage) REFERENCES stages (job, stage),
      FOREIGN KEY (job, after_stage) REFERENCES stages (job, stage)
    ) STRICT, WITHOUT ROWID)",
    R"(CREATE TABLE attempts (
      job INTEGER NOT NULL,
      stage INTEGER NOT NULL,
      attempt INTEGER NOT NULL,
      attempt_id TEXT NOT NULL UNIQUE,
      secret TEXT NOT NULL,
      state TEXT NOT NULL,
      planned REAL NOT NULL,
      ended REAL NOT NULL,
      outcome TEXT NOT NULL,
      exit_code INTEGER NOT NULL,
      reason TEXT NOT NULL,
      PRIMARY KEY (job, stage, attempt),
      FOREIGN KEY (job, stage) REFERENCES stages (job, stage)
    ) STRICT)",
    R"(CREATE TABLE transitions (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      job INTEGER NOT NULL REFERENCES jobs (id),
      stage INTEGER NOT NULL,
      attempt INTEGER NOT NULL,
      time REAL NOT NULL,
      from_state TEXT NOT NULL,
      to_state TEXT NOT NULL,
      reason TEXT NOT NULL
    ) STRICT)"};

// What a stage does and how often it was restarted are seen in lists; what has not ended, whose
// run directory is in use, and a job's history are found without reading what has ended.
constexpr const char* kVersion2[] = {
    "ALTER TABLE stages ADD COLUMN kind TEXT NOT NULL DEFAULT 'pretrain'",
    "ALTER TABLE stages ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0",
    R"(UPDATE stages SET restarts = (SELECT count(*) FROM transitions t WHERE t.job = stages.job
      AND t.stage = stages.stage AND t.attempt = 0 AND t.from_state = 'backoff'
      AND t.to_state = 'running'))",
    "CREATE INDEX transitions_by_job ON transitions (job, id)",
    "CREATE INDEX jobs_by_run_directory ON jobs (run_directory)",
    R"(CREATE INDEX unended_stages ON stages (job)
      WHERE state NOT IN ('done', 'failed', 'stopped', 'cancelled'))"};

// A stage may wait for what others have reached.
constexpr const char* kVersion3[] = {
    "ALTER TABLE stages ADD COLUMN gates TEXT NOT NULL DEFAULT ''"};

using Migration = std::span<const char* const>;
constexpr std::array<Migration, 3> kMigrations = {kVersion1, kVersion2, kVersion3};

int version_of(Database& database) {
  Statement statement = database.prepare("PRAGMA user_version");
  return statement.row() ? statement.integer<int>() : 0;
}

bool has_tables(Database& database) {
  return database.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").row();
}

}  // namespace

int newest_schema() { return static_cast<int>(kMigrations.size()); }

void upgrade_schema(Database& database) {
  const int found = version_of(database);
  if (found > newest_schema()) {
    fail(
        "{}: its schema has version {}, this program knows versions up to {}; use the talaria that "
        "made it, or a newer one",
        database.file().string(), found, newest_schema());
  }
  if (found < 0 || (found == 0 && has_tables(database))) {
    fail("{}: a database of another program; name another state directory",
         database.file().string());
  }
  while (version_of(database) < newest_schema()) {
    Transaction transaction(database);
    // Read again: another process may have been quicker.
    const int version = version_of(database);
    if (version < newest_schema()) {
      for (const char* sql : kMigrations.at(static_cast<std::size_t>(version))) {
        database.execute(sql);
      }
      database.execute(fmt::format("PRAGMA user_version = {}", version + 1));
    }
    transaction.commit();
  }
}

}  // namespace talaria::coordinator
