// SPDX-License-Identifier: Apache-2.0
// What the tests of coordinator/state share: jobs to submit, children that die on purpose, and the
// original SQL of old schema versions.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/state/database.h"
#include "coordinator/state/store.h"
#include "tests/support/text_fixtures.h"

namespace talaria::test {

inline coordinator::StageRow sample_stage(const std::string& name,
                                          std::vector<std::string> after = {}) {
  coordinator::StageRow stage;
  stage.name = name;
  stage.after = std::move(after);
  stage.kind = "pretrain";
  stage.max_restarts = 3;
  stage.ranks = 2;
  stage.run_directory = "/runs/sample/" + name;
  stage.job_toml = "[job]\nname = \"" + name + "\"\n";
  return stage;
}

inline coordinator::JobRow sample_job(const std::string& run_directory = "/runs/sample",
                                      std::vector<coordinator::StageRow> stages = {
                                          sample_stage("only")}) {
  coordinator::JobRow job;
  job.name = "sample";
  job.uid = 1000;
  job.gid = 100;
  job.user = "ada";
  job.run_directory = run_directory;
  job.working_directory = "/srv/ada";
  job.stages = std::move(stages);
  return job;
}

inline coordinator::AttemptEnd sample_end(coordinator::StageState next, int failures = 0,
                                          double not_before = 0.0) {
  coordinator::AttemptEnd end;
  end.outcome = next == coordinator::StageState::kDone ? "done" : "failed";
  end.exit_code = next == coordinator::StageState::kDone ? 0 : 1;
  end.reason = "because";
  end.next = next;
  end.failures = failures;
  end.not_before = not_before;
  return end;
}

// Runs `body` in a forked child with a watchdog. Returns its exit code, or 128 + the signal that
// ended it; an exception is 99 and is printed.
inline int in_child(const std::function<int()>& body, unsigned watchdog_seconds = 60) {
  std::fflush(nullptr);
  const pid_t pid = check_sys(::fork(), "fork", "");
  if (pid == 0) {
    ::alarm(watchdog_seconds);
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail_errno("waitpid", "");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The schema of version 1 as it was released, and rows in it: job 1 is done after one restart, job
// 2 waits in its second stage.
inline void write_version_1(const std::filesystem::path& file) {
  static constexpr const char* kSql[] = {
      R"(CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
        uid INTEGER NOT NULL, gid INTEGER NOT NULL, user TEXT NOT NULL, submitted REAL NOT NULL,
        wish TEXT NOT NULL, run_directory TEXT NOT NULL, working_directory TEXT NOT NULL) STRICT)",
      R"(CREATE TABLE stages (job INTEGER NOT NULL REFERENCES jobs (id), stage INTEGER NOT NULL,
        name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL,
        not_before REAL NOT NULL, failures INTEGER NOT NULL, max_restarts INTEGER NOT NULL,
        ranks INTEGER NOT NULL, run_directory TEXT NOT NULL, PRIMARY KEY (job, stage)) STRICT)",
      R"(CREATE TABLE stage_files (job INTEGER NOT NULL, stage INTEGER NOT NULL, toml TEXT NOT NULL,
        PRIMARY KEY (job, stage),
        FOREIGN KEY (job, stage) REFERENCES stages (job, stage)) STRICT)",
      R"(CREATE TABLE stage_after (job INTEGER NOT NULL, stage INTEGER NOT NULL,
        after_stage INTEGER NOT NULL, PRIMARY KEY (job, stage, after_stage),
        FOREIGN KEY (job, stage) REFERENCES stages (job, stage),
        FOREIGN KEY (job, after_stage) REFERENCES stages (job, stage)) STRICT, WITHOUT ROWID)",
      R"(CREATE TABLE attempts (job INTEGER NOT NULL, stage INTEGER NOT NULL,
        attempt INTEGER NOT NULL, attempt_id TEXT NOT NULL UNIQUE, secret TEXT NOT NULL,
        state TEXT NOT NULL, planned REAL NOT NULL, ended REAL NOT NULL, outcome TEXT NOT NULL,
        exit_code INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (job, stage, attempt),
        FOREIGN KEY (job, stage) REFERENCES stages (job, stage)) STRICT)",
      R"(CREATE TABLE transitions (id INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES jobs (id), stage INTEGER NOT NULL,
        attempt INTEGER NOT NULL, time REAL NOT NULL, from_state TEXT NOT NULL,
        to_state TEXT NOT NULL, reason TEXT NOT NULL) STRICT)",
      "PRAGMA user_version = 1",
      R"(INSERT INTO jobs VALUES
        (1, 'first', 1000, 100, 'ada', 10.0, 'run', '/runs/first', '/srv/ada'),
        (2, 'second', 1001, 100, 'bob', 20.0, 'stop', '/runs/second', '/srv/bob'))",
      R"(INSERT INTO stages VALUES
        (1, 0, 'first', 'done', '', 19.0, 0.0, 0, 3, 2, '/runs/first'),
        (2, 0, 'base', 'running', 'attempt 1', 21.0, 0.0, 0, 5, 8, '/runs/second/base'),
        (2, 1, 'chat', 'pending', 'submitted', 20.0, 0.0, 0, 5, 8, '/runs/second/chat'))",
      "INSERT INTO stage_files VALUES (1, 0, 'a = 1'), (2, 0, 'b = 1'), (2, 1, 'c = 1')",
      "INSERT INTO stage_after VALUES (2, 1, 0)",
      R"(INSERT INTO attempts VALUES
        (1, 0, 1, 'j1-s0-a001-aa', 's1', 'ended', 11.0, 12.0, 'failed', 1, 'rank 1 died'),
        (1, 0, 2, 'j1-s0-a002-bb', 's2', 'ended', 13.0, 19.0, 'done', 0, ''),
        (2, 0, 1, 'j2-s0-a001-cc', 's3', 'running', 21.0, 0.0, '', 0, ''))",
      R"(INSERT INTO transitions (job, stage, attempt, time, from_state, to_state, reason) VALUES
        (1, -1, 0, 10.0, '', 'run', 'submitted'), (1, 0, 0, 10.0, '', 'queued', 'submitted'),
        (1, 0, 0, 11.0, 'queued', 'running', 'attempt 1'), (1, 0, 1, 11.0, '', 'planned', ''),
        (1, 0, 1, 11.5, 'planned', 'running', ''),
        (1, 0, 1, 12.0, 'running', 'ended', 'rank 1 died'),
        (1, 0, 0, 12.0, 'running', 'backoff', 'rank 1 died'),
        (1, 0, 0, 13.0, 'backoff', 'running', 'attempt 2'), (1, 0, 2, 13.0, '', 'planned', ''),
        (1, 0, 2, 19.0, 'planned', 'ended', ''), (1, 0, 0, 19.0, 'running', 'done', ''),
        (2, -1, 0, 20.0, '', 'run', 'submitted'), (2, 0, 0, 20.0, '', 'queued', 'submitted'),
        (2, 1, 0, 20.0, '', 'pending', 'submitted'),
        (2, 0, 0, 21.0, 'queued', 'running', 'attempt 1'), (2, 0, 1, 21.0, '', 'planned', ''),
        (2, 0, 1, 21.5, 'planned', 'running', ''),
        (2, -1, 0, 22.0, 'run', 'stop', 'asked by bob'))"};
  coordinator::Database database(file, coordinator::Database::Open::kWrite);
  for (const char* sql : kSql) database.execute(sql);
}

}  // namespace talaria::test
