// SPDX-License-Identifier: Apache-2.0
// A coordinator is killed before and after every SQL statement of some jobs' lives, and started
// again. The world, in memory that outlives it, only moves when nothing is left to do, so the
// history must come out the same, to the row, as if nothing had happened.
#include <csignal>
#include <new>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "coordinator/state/schema.h"
#include "tests/support/simulated_coordinator.h"
#include "tests/support/state_fixtures.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
using test::history_fault;
using test::in_child;
using test::sample_job;
using test::sample_stage;
using test::SimulatedCoordinator;
using test::TempFolder;
using test::World;
using test::WorldAttempt;

constexpr int kKilled = 128 + SIGKILL;
constexpr int kJobs = 4;

// What outlives the coordinator.
struct Outside {
  World world;
  bool acknowledged[kJobs] = {};  // submit returned, so the user knows of the job
  std::int64_t statements = 0;    // of a whole life
};

class SharedOutside {
 public:
  SharedOutside() {
    void* memory =
        ::mmap(nullptr, sizeof(Outside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail_errno("mmap", "shared memory");
    outside_ = new (memory) Outside;
  }
  ~SharedOutside() { ::munmap(outside_, sizeof(Outside)); }
  SharedOutside(const SharedOutside&) = delete;
  SharedOutside& operator=(const SharedOutside&) = delete;
  Outside& operator*() { return *outside_; }
  Outside* operator->() { return outside_; }

 private:
  Outside* outside_;
};

// 1: three stages; fails, is stopped and retried, fails after a checkpoint, is done.
// 2: invalid. 3: cancelled while it is queued. 4: killed while it runs.
JobRow job_number(int number) {
  JobRow job = sample_job(fmt::format("/runs/{}", number));
  if (number == 1) {
    job.stages = {sample_stage("base"), sample_stage("chat", {"base"}),
                  sample_stage("score", {"base", "chat"})};
  }
  return job;
}

// The outcome of an attempt that has lived for a step; "" goes on until somebody ends it.
std::string outcome_of(const StageKey& key, int attempt) {
  if (key.job == 1 && key.stage == 0) {
    const std::array<const char*, 5> script = {"", "failed", "", "failed", "done"};
    return script.at(static_cast<std::size_t>(attempt));
  }
  return key.job == 1 ? "done" : key.job == 2 ? "invalid" : "";
}

void submit_all(Store& store, Outside& outside) {
  for (int number = 1; number <= kJobs; ++number) {
    bool& acknowledged = outside.acknowledged[number - 1];
    if (acknowledged) continue;
    try {
      store.submit(job_number(number), outside.world.now);
    } catch (const UsageError&) {
      // It was submitted, and the answer got lost.
    }
    acknowledged = true;
  }
}

// Each wish is made until it is seen.
void users(Store& store, Outside& outside) {
  submit_all(store, outside);
  const std::vector<JobRow> jobs = store.all_jobs();
  const auto job = [&](std::int64_t id) -> const JobRow& {
    return jobs.at(static_cast<std::size_t>(kJobs - id));
  };
  const auto runs = [&](std::int64_t id, int attempt) {
    const auto& newest = job(id).stages[0].attempt;
    return job(id).wish == Wish::kRun && newest && newest->attempt == attempt &&
           newest->state == AttemptState::kRunning;
  };
  const double now = outside.world.now;
  if (job(3).wish == Wish::kRun) store.wish(3, Wish::kCancel, "not needed", now);
  if (runs(1, 2)) store.wish(1, Wish::kStop, "for the night", now);
  if (runs(4, 1)) store.wish(4, Wish::kKill, "wrong data", now);
  // The others have ended by then: nobody competes for the slot.
  if (job(1).state() == StageState::kStopped && job(4).state() == StageState::kCancelled) {
    store.retry(1, now);
  }
}

void move_world(World& world) {
  world.now += 1.0;
  for (int job = 1; job <= kJobs; ++job) {
    for (int stage = 0; stage < World::kStages; ++stage) {
      for (int number = 1; number <= 4; ++number) {
        WorldAttempt& attempt = world.attempt({job, stage}, number);
        if (!attempt.launcher) continue;
        const std::string outcome = outcome_of({job, stage}, number);
        attempt.checkpoint = number == 3;
        if (attempt.killed) {
          World::report(attempt, "failed");
        } else if (attempt.asked) {
          World::report(attempt, "stopped");
        } else if (++attempt.age == 1 && !outcome.empty()) {
          World::report(attempt, outcome.c_str());
        }
      }
    }
  }
}

// A coordinator's process, from its start to the end of all jobs. `crash_at` as in
// arm_statement_crash(), counted from here; < 0: none.
int coordinate(const fs::path& file, Outside& outside, std::int64_t crash_at) {
  const std::int64_t begin = statements_executed();
  arm_statement_crash(crash_at < 0 ? -1 : 2 * begin + crash_at);
  SimulatedCoordinator coordinator(file, outside.world, 1);
  constexpr int kMaxTurns = 300;
  for (int turn = 0; turn < kMaxTurns; ++turn) {
    do {
      users(coordinator.store(), outside);
    } while (coordinator.tick());
    if (coordinator.store().unended_jobs().empty()) {
      outside.statements = statements_executed() - begin;
      return 0;
    }
    move_world(outside.world);
  }
  return 3;
}

std::string integrity(const fs::path& file) {
  Database database(file, Database::Open::kSnapshot);
  for (const char* sql : {"PRAGMA foreign_key_check", "PRAGMA integrity_check"}) {
    Statement row = database.prepare(sql);
    if (row.row()) {
      std::string text = row.text();
      if (text != "ok") return text;
    }
  }
  return "";
}

// What holds at every instant; looks without touching the file.
std::string fault(const fs::path& file, Outside& outside) {
  if (outside.world.violation[0] != 0) return outside.world.violation;
  if (std::string text = integrity(file); !text.empty()) return text;
  const Store store(file, true);
  std::map<std::string, int> jobs;
  for (const JobRow& job : store.all_jobs()) {
    ++jobs[job.run_directory];
    if (std::string text = history_fault(store, job); !text.empty()) return text;
  }
  for (int number = 1; number <= kJobs; ++number) {
    const int count = jobs[fmt::format("/runs/{}", number)];
    if (count > 1) return fmt::format("job {} is there {} times", number, count);
    if (count == 0 && outside.acknowledged[number - 1])
      return fmt::format("job {} is lost", number);
  }
  return "";
}

// Everything that is to be the same.
std::string history(const fs::path& file, Outside& outside) {
  const Store store(file, true);
  std::string text;
  for (const JobRow& job : store.all_jobs()) {
    text += fmt::format("job {}: {} {} {}\n", job.id, job.run_directory, name(job.state()),
                        name(job.wish));
    for (const StageRow& stage : job.stages) {
      text += fmt::format("  {} {} failures {} restarts {}: {}\n", stage.name, name(stage.state),
                          stage.failures, stage.restarts, stage.reason);
      for (const AttemptRow& attempt : store.attempts(stage.key)) {
        text +=
            fmt::format("    {} {} {} {} {}\n", attempt.attempt_id, attempt.planned, attempt.ended,
                        attempt.outcome, outside.world.attempt(stage.key, attempt.attempt).starts);
      }
    }
    for (const TransitionRow& row : store.transitions(job.id)) {
      text += fmt::format("  {} {}/{} {} -> {} {}\n", row.time, row.stage, row.attempt, row.from,
                          row.to, row.reason);
    }
  }
  return text;
}

std::string undisturbed(std::int64_t& statements) {
  const TempFolder folder;
  SharedOutside outside;
  EXPECT_EQ(in_child([&] { return coordinate(folder / "state.db", *outside, -1); }), 0);
  EXPECT_EQ(fault(folder / "state.db", *outside), "");
  statements = outside->statements;
  return history(folder / "state.db", *outside);
}

TEST(Crash, TheUndisturbedLifeIsTheOneMeant) {
  std::int64_t statements = 0;
  const std::string life = undisturbed(statements);
  for (const char* part :
       {"job 1: /runs/1 done run\n", "job 2: /runs/2 failed run\n",
        "job 3: /runs/3 cancelled cancel\n", "job 4: /runs/4 cancelled kill\n",
        "running -> backoff failed", "backoff -> running attempt 2",
        "running -> stopping stopped by request", "stopped -> queued retry",
        "pending -> stopped stopped by request", "pending -> queued the stages before it are done",
        "j1-s0-a004 ", "j1-s2-a001 ", "queued -> cancelled cancelled by request"}) {
    EXPECT_THAT(life, testing::HasSubstr(part));
  }
  EXPECT_GT(statements, 200);
}

TEST(Crash, BeforeAndAfterEveryStatementNothingIsLostOrDoneTwice) {
  std::int64_t statements = 0;
  const std::string expected = undisturbed(statements);
  for (std::int64_t n = 0; n < 2 * statements; ++n) {
    const TempFolder folder;
    const fs::path file = folder / "state.db";
    SharedOutside outside;
    ASSERT_EQ(in_child([&] { return coordinate(file, *outside, n); }), kKilled) << n;
    ASSERT_EQ(fault(file, *outside), "") << "killed at " << n;
    ASSERT_EQ(in_child([&] { return coordinate(file, *outside, -1); }), 0) << n;
    ASSERT_EQ(integrity(file), "") << "continued after " << n;
    ASSERT_EQ(history(file, *outside), expected) << "killed at " << n;
  }
  fmt::print("{} statements, killed at {} instants\n", statements, 2 * statements);
}

TEST(Crash, OneAfterTheOther) {
  std::int64_t statements = 0;
  const std::string expected = undisturbed(statements);
  std::mt19937 random(7);
  int crashes = 0;
  for (int storm = 0; storm < 10; ++storm) {
    const TempFolder folder;
    const fs::path file = folder / "state.db";
    SharedOutside outside;
    int end = kKilled;
    while (end == kKilled) {
      const auto n = static_cast<std::int64_t>(random() % 90);
      end = in_child([&] { return coordinate(file, *outside, n); });
      crashes += end == kKilled ? 1 : 0;
      ASSERT_EQ(fault(file, *outside), "") << "storm " << storm;
    }
    ASSERT_EQ(end, 0) << "storm " << storm;
    ASSERT_EQ(history(file, *outside), expected) << "storm " << storm;
  }
  EXPECT_GT(crashes, 50);
}

TEST(Crash, AnInterruptedUpgradeIsHarmless) {
  int end = kKilled;
  std::int64_t n = 0;
  for (; end == kKilled; ++n) {
    const TempFolder folder;
    const fs::path file = folder / "state.db";
    test::write_version_1(file);
    end = in_child([&] {
      arm_statement_crash(2 * statements_executed() + n);
      const Store store(file);
      return 0;
    });
    ASSERT_EQ(integrity(file), "") << n;
    for (const bool read_only : {true, false}) {
      const Store store(file, read_only);
      ASSERT_EQ(store.all_jobs().size(), 2U) << n;
      for (const JobRow& job : store.all_jobs()) ASSERT_EQ(history_fault(store, job), "") << n;
      ASSERT_EQ(store.job(1).value().stages.at(0).restarts, 1) << n;
      ASSERT_EQ(store.job(2).value().stages.at(1).job_toml, "c = 1") << n;
    }
  }
  EXPECT_EQ(end, 0);
  EXPECT_GT(n, 2 * 10);
}

}  // namespace
}  // namespace talaria::coordinator
