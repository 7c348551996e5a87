// SPDX-License-Identifier: Apache-2.0
// The store as a memory: what goes in comes out, transitions are legal and written, lists are
// quick.
#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "tests/support/state_fixtures.h"

namespace talaria::coordinator {
namespace {

using test::sample_end;
using test::sample_job;
using test::sample_stage;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using S = StageState;

class StoreTest : public testing::Test {
 protected:
  // One job with one stage that has `attempts` failed attempts and is running the next.
  StageKey running_stage(int failed_attempts = 0) {
    const std::int64_t id = store_.submit(sample_job(fmt::format("/runs/{}", ++jobs_)), 1.0);
    const StageKey key = {id, 0};
    for (int i = 0; i < failed_attempts; ++i) {
      plan(key);
      store_.end_attempt(key, newest(key).attempt, sample_end(S::kBackoff, i + 1, 5.0), 3.0);
    }
    plan(key);
    return key;
  }
  AttemptRow plan(const StageKey& key, int first = 1) {
    return store_.plan_attempt(key, first, fmt::format("id-{}", ++ids_), "secret", 2.0);
  }
  StageRow stage(const StageKey& key) {
    return store_.job(key.job).value().stages.at(static_cast<std::size_t>(key.stage));
  }
  AttemptRow newest(const StageKey& key) { return stage(key).attempt.value(); }
  std::vector<std::string> history(std::int64_t job) {
    std::vector<std::string> lines;
    for (const TransitionRow& row : store_.transitions(job)) {
      lines.push_back(fmt::format("{} {}/{} {}->{} {}", row.time, row.stage, row.attempt, row.from,
                                  row.to, row.reason));
    }
    return lines;
  }

  TempFolder folder_;
  Store store_{folder_ / "state.db"};
  int ids_ = 0;
  int jobs_ = 0;
};

TEST_F(StoreTest, ASubmittedJobComesBackWhole) {
  JobRow job =
      sample_job("/runs/x", {sample_stage("base"), sample_stage("chat", {"base"}),
                             sample_stage("aside"), sample_stage("last", {"chat", "aside"})});
  job.uid = 4294967294;
  job.stages[1].kind = "sft";
  job.stages[1].max_restarts = 0;
  job.stages[1].gates = {"base.loss < 3", "base.validation_loss <= 3.5"};
  const std::int64_t id = store_.submit(job, 1700000000.123456);
  const JobRow back = store_.job(id).value();
  EXPECT_EQ(back.id, id);
  EXPECT_EQ(back.name, job.name);
  EXPECT_EQ(back.uid, job.uid);
  EXPECT_EQ(back.gid, job.gid);
  EXPECT_EQ(back.user, job.user);
  EXPECT_EQ(back.submitted, 1700000000.123456);
  EXPECT_EQ(back.wish, Wish::kRun);
  EXPECT_EQ(back.run_directory, job.run_directory);
  EXPECT_EQ(back.working_directory, job.working_directory);
  EXPECT_EQ(back.state(), S::kQueued);
  ASSERT_EQ(back.stages.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    const StageRow& in = job.stages[i];
    const StageRow& out = back.stages[i];
    EXPECT_EQ(out.key, (StageKey{id, static_cast<int>(i)}));
    EXPECT_EQ(out.name, in.name);
    EXPECT_EQ(out.kind, in.kind);
    EXPECT_EQ(out.gates, in.gates);
    EXPECT_EQ(out.max_restarts, in.max_restarts);
    EXPECT_EQ(out.ranks, in.ranks);
    EXPECT_EQ(out.run_directory, in.run_directory);
    EXPECT_EQ(out.job_toml, in.job_toml);
    EXPECT_EQ(out.state, in.after.empty() ? S::kQueued : S::kPending);
    EXPECT_EQ(out.since, 1700000000.123456);
    EXPECT_FALSE(out.attempt.has_value());
  }
  EXPECT_THAT(back.stages[1].after, ElementsAre("base"));
  EXPECT_THAT(back.stages[3].after, ElementsAre("chat", "aside"));
}

TEST_F(StoreTest, TextsAreKeptToTheByte) {
  const std::string hostile =
      std::string("a\0b", 3) + "'\"; DROP TABLE jobs; --\n\x1b[31m\xff$(id)";
  const std::string large(100000, 'x');
  JobRow job = sample_job(hostile + "/dir");
  job.name = hostile;
  job.user = "";
  job.stages[0].job_toml = large;
  job.stages[0].name = hostile;
  const std::int64_t id = store_.submit(job, 1.0);
  store_.wish(id, Wish::kStop, hostile, 2.0);
  const JobRow back = store_.job(id).value();
  EXPECT_EQ(back.name, hostile);
  EXPECT_EQ(back.user, "");
  EXPECT_EQ(back.run_directory, hostile + "/dir");
  EXPECT_EQ(back.stages[0].name, hostile);
  EXPECT_EQ(back.stages[0].job_toml, large);
  EXPECT_EQ(store_.transitions(id).back().reason, hostile);
}

TEST_F(StoreTest, AnUnendedJobKeepsItsRunDirectory) {
  const std::int64_t first = store_.submit(sample_job("/runs/x"), 1.0);
  try {
    store_.submit(sample_job("/runs/x"), 2.0);
    FAIL() << "a second job got the directory";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr(fmt::format("/runs/x: in use by job {}", first)));
  }
  EXPECT_EQ(store_.all_jobs().size(), 1U);
  store_.move({first, 0}, S::kCancelled, "by request", 3.0);
  const std::int64_t second = store_.submit(sample_job("/runs/x"), 4.0);
  EXPECT_GT(second, first);
  EXPECT_THROW(store_.retry(first, 5.0), UsageError);
  store_.move({second, 0}, S::kCancelled, "by request", 6.0);
  store_.retry(first, 7.0);
  EXPECT_EQ(stage({first, 0}).state, S::kQueued);
}

TEST_F(StoreTest, AStageMayWaitForEarlierStagesOnly) {
  EXPECT_THROW(store_.submit(sample_job("/a", {sample_stage("x", {"y"}), sample_stage("y")}), 1.0),
               UsageError);
  EXPECT_THROW(store_.submit(sample_job("/a", {sample_stage("x", {"x"})}), 1.0), UsageError);
  EXPECT_TRUE(store_.all_jobs().empty());
  store_.submit(sample_job("/a", {sample_stage("x"), sample_stage("y", {"x", "x"})}), 1.0);
}

TEST_F(StoreTest, AWishOnlyGrows) {
  const std::int64_t id = store_.submit(sample_job(), 1.0);
  store_.wish(id, Wish::kRun, "", 2.0);
  store_.wish(id, Wish::kCancel, "asked by ada", 3.0);
  store_.wish(id, Wish::kStop, "", 4.0);
  store_.wish(id, Wish::kCancel, "", 5.0);
  EXPECT_EQ(store_.job(id)->wish, Wish::kCancel);
  store_.wish(id, Wish::kKill, "again", 6.0);
  EXPECT_EQ(store_.job(id)->wish, Wish::kKill);
  EXPECT_THAT(history(id),
              ElementsAre("1 -1/0 ->run submitted", "1 0/0 ->queued submitted",
                          "3 -1/0 run->cancel asked by ada", "6 -1/0 cancel->kill again"));
}

TEST_F(StoreTest, AWishNeedsAJobThatGoesOn) {
  const std::int64_t id = store_.submit(sample_job(), 1.0);
  store_.move({id, 0}, S::kStopped, "", 2.0);
  EXPECT_THROW(store_.wish(id, Wish::kStop, "", 3.0), UsageError);
  EXPECT_THROW(store_.wish(id + 1, Wish::kStop, "", 3.0), UsageError);
  EXPECT_THROW(store_.retry(id + 1, 3.0), UsageError);
}

TEST_F(StoreTest, ALifeIsWrittenDown) {
  const std::int64_t id = store_.submit(sample_job(), 1.0);
  const StageKey key = {id, 0};
  EXPECT_EQ(store_.plan_attempt(key, 1, "a", "s", 2.0).attempt, 1);
  store_.attempt_running(key, 1, 3.0);
  EXPECT_EQ(newest(key).state, AttemptState::kRunning);
  store_.end_attempt(key, 1, sample_end(S::kBackoff, 1, 4.5), 4.0);
  EXPECT_EQ(stage(key).failures, 1);
  EXPECT_EQ(stage(key).not_before, 4.5);
  EXPECT_EQ(stage(key).restarts, 0);
  EXPECT_EQ(store_.plan_attempt(key, 1, "b", "s", 5.0).attempt, 2);
  EXPECT_EQ(stage(key).restarts, 1);
  EXPECT_EQ(stage(key).not_before, 0.0);
  store_.move(key, S::kStopping, "asked", 6.0);
  store_.end_attempt(key, 2, sample_end(S::kStopped), 7.0);
  EXPECT_EQ(newest(key).ended, 7.0);
  EXPECT_EQ(newest(key).planned, 5.0);
  EXPECT_EQ(newest(key).outcome, "failed");
  EXPECT_EQ(newest(key).exit_code, 1);
  EXPECT_EQ(newest(key).reason, "because");
  EXPECT_TRUE(store_.unended_jobs().empty());
  store_.retry(id, 8.0);
  EXPECT_EQ(store_.plan_attempt(key, 1, "c", "s", 9.0).attempt, 3);
  EXPECT_EQ(stage(key).restarts, 1);
  store_.end_attempt(key, 3, sample_end(S::kDone), 10.0);
  EXPECT_EQ(store_.job(id)->state(), S::kDone);
  EXPECT_THAT(history(id),
              ElementsAre("1 -1/0 ->run submitted", "1 0/0 ->queued submitted",
                          "2 0/0 queued->running attempt 1", "2 0/1 ->planned ",
                          "3 0/1 planned->running ", "4 0/1 running->ended because",
                          "4 0/0 running->backoff because", "5 0/0 backoff->running attempt 2",
                          "5 0/2 ->planned ", "6 0/0 running->stopping asked",
                          "7 0/2 planned->ended because", "7 0/0 stopping->stopped because",
                          "8 -1/0 run->run retry", "8 0/0 stopped->queued retry",
                          "9 0/0 queued->running attempt 3", "9 0/3 ->planned ",
                          "10 0/3 planned->ended because", "10 0/0 running->done because"));
  const std::vector<AttemptRow> attempts = store_.attempts(key);
  ASSERT_EQ(attempts.size(), 3U);
  EXPECT_EQ(attempts[0].attempt_id, "a");
  EXPECT_EQ(attempts[2].attempt_id, "c");
}

TEST_F(StoreTest, AttemptNumbersGrowFromTheFirst) {
  const StageKey key = {store_.submit(sample_job(), 1.0), 0};
  EXPECT_EQ(plan(key, 7).attempt, 7);
  store_.end_attempt(key, 7, sample_end(S::kBackoff, 1), 3.0);
  EXPECT_EQ(plan(key, 3).attempt, 8);
  store_.end_attempt(key, 8, sample_end(S::kBackoff, 2), 3.0);
  EXPECT_EQ(plan(key, 20).attempt, 20);
}

TEST_F(StoreTest, RetryKeepsWhatIsDone) {
  const std::int64_t id =
      store_.submit(sample_job("/r", {sample_stage("a"), sample_stage("b", {"a"}),
                                      sample_stage("c", {"a", "b"}), sample_stage("d")}),
                    1.0);
  plan({id, 0});
  store_.end_attempt({id, 0}, 1, sample_end(S::kDone), 2.0);
  store_.move({id, 1}, S::kQueued, "", 3.0);
  plan({id, 1});
  EXPECT_THROW(store_.retry(id, 4.0), UsageError);
  store_.end_attempt({id, 1}, 1, sample_end(S::kFailed, 4), 5.0);
  store_.move({id, 2}, S::kCancelled, "", 6.0);
  store_.wish(id, Wish::kStop, "", 6.0);
  store_.move({id, 3}, S::kStopped, "", 7.0);
  EXPECT_EQ(store_.job(id)->state(), S::kFailed);
  store_.retry(id, 8.0);
  const JobRow job = store_.job(id).value();
  EXPECT_EQ(job.wish, Wish::kRun);
  EXPECT_EQ(job.stages[0].state, S::kDone);
  EXPECT_EQ(job.stages[1].state, S::kQueued);
  EXPECT_EQ(job.stages[1].failures, 0);
  EXPECT_EQ(job.stages[2].state, S::kPending);
  EXPECT_EQ(job.stages[3].state, S::kQueued);
}

TEST_F(StoreTest, ADoneJobIsNotRetried) {
  const StageKey key = running_stage();
  store_.end_attempt(key, 1, sample_end(S::kDone), 3.0);
  EXPECT_THROW(store_.retry(key.job, 4.0), UsageError);
}

using StoreDeathTest = StoreTest;

TEST_F(StoreDeathTest, AnIllegalTransitionIsABug) {
  const StageKey queued = {store_.submit(sample_job("/q"), 1.0), 0};
  const StageKey running = running_stage();
  EXPECT_DEATH(store_.move(queued, S::kDone, "", 2.0), "queued -> done");
  EXPECT_DEATH(store_.move(queued, S::kQueued, "", 2.0), "queued -> queued");
  EXPECT_DEATH(store_.move(queued, S::kRunning, "", 2.0), "running without an attempt");
  EXPECT_DEATH(store_.move({99, 0}, S::kQueued, "", 2.0), "job 99 has no stage 0");
  EXPECT_DEATH(store_.move(running, S::kFailed, "", 2.0), "with an attempt that has not ended");
  EXPECT_DEATH(plan(running), "attempt 1 has not ended");
  EXPECT_DEATH(store_.attempt_running(running, 2, 2.0), "attempt 2 is not the newest");
  EXPECT_DEATH(store_.end_attempt(running, 1, sample_end(S::kQueued), 2.0), "BUG");
  store_.move(running, S::kStopping, "", 2.0);
  EXPECT_DEATH(store_.end_attempt(running, 1, sample_end(S::kBackoff), 2.0), "stopping -> backoff");
  store_.end_attempt(running, 1, sample_end(S::kStopped), 2.0);
  EXPECT_DEATH(store_.end_attempt(running, 1, sample_end(S::kStopped), 2.0), "ended -> ended");
  EXPECT_EQ(stage(queued).state, S::kQueued);
}

TEST_F(StoreTest, ListsAreSortedAndHoldTheNewestAttempt) {
  const StageKey first = running_stage(2);
  const StageKey second = running_stage();
  const StageKey third = running_stage();
  store_.end_attempt(second, 1, sample_end(S::kDone), 3.0);
  const std::vector<JobRow> unended = store_.unended_jobs();
  ASSERT_EQ(unended.size(), 2U);
  EXPECT_EQ(unended[0].id, first.job);
  EXPECT_EQ(unended[0].stages.at(0).attempt.value().attempt, 3);
  EXPECT_EQ(unended[0].stages.at(0).job_toml, "");
  EXPECT_EQ(unended[1].id, third.job);
  const std::vector<JobRow> everything = store_.all_jobs();
  ASSERT_EQ(everything.size(), 3U);
  EXPECT_EQ(everything[0].id, third.job);
  EXPECT_EQ(everything[1].stages.at(0).attempt.value().outcome, "done");
  EXPECT_EQ(everything[2].id, first.job);
  EXPECT_FALSE(store_.job(99).has_value());
  EXPECT_TRUE(store_.transitions(99).empty());
}

// Loose bounds: what matters is that no statement is executed a job, which is counted.
TEST_F(StoreTest, AThousandQueuedJobsAreListedByFourStatements) {
  double slowest = 0.0;
  for (int i = 0; i < 1000; ++i) {
    const double begin = monotonic_seconds();
    store_.submit(sample_job(fmt::format("/runs/{}", i)), 1.0);
    slowest = std::max(slowest, monotonic_seconds() - begin);
  }
  const std::int64_t before = statements_executed();
  const double begin = monotonic_seconds();
  EXPECT_EQ(store_.unended_jobs().size(), 1000U);
  const double unended = monotonic_seconds() - begin;
  EXPECT_EQ(store_.all_jobs().size(), 1000U);
  const double everything = monotonic_seconds() - begin - unended;
  EXPECT_EQ(statements_executed() - before, 8);
  EXPECT_LT(unended, 0.5);
  RecordProperty("unended_ms", fmt::format("{:.2f}", unended * 1e3));
  fmt::print("slowest submit {:.2f} ms, unended_jobs {:.2f} ms, all_jobs {:.2f} ms\n",
             slowest * 1e3, unended * 1e3, everything * 1e3);
}

TEST(States, TheTableOfArrows) {
  const std::vector<S> states = {S::kPending, S::kQueued, S::kRunning, S::kBackoff,  S::kStopping,
                                 S::kDone,    S::kFailed, S::kStopped, S::kCancelled};
  const std::map<S, std::set<S>> arrows = {
      {S::kPending, {S::kQueued, S::kCancelled, S::kStopped}},
      {S::kQueued, {S::kRunning, S::kFailed, S::kCancelled, S::kStopped}},
      {S::kRunning, {S::kDone, S::kFailed, S::kBackoff, S::kStopping, S::kStopped, S::kCancelled}},
      {S::kBackoff, {S::kRunning, S::kFailed, S::kStopped, S::kCancelled}},
      {S::kStopping, {S::kDone, S::kFailed, S::kStopped, S::kCancelled}},
      {S::kDone, {}},
      {S::kFailed, {S::kQueued, S::kPending}},
      {S::kStopped, {S::kQueued, S::kPending}},
      {S::kCancelled, {S::kQueued, S::kPending}}};
  for (const S from : states) {
    EXPECT_EQ(parse_stage_state(name(from)), from);
    for (const S to : states) {
      EXPECT_EQ(legal(from, to), arrows.at(from).contains(to)) << name(from) << " -> " << name(to);
    }
  }
  using A = AttemptState;
  for (const A from : {A::kPlanned, A::kRunning, A::kEnded}) {
    EXPECT_EQ(parse_attempt_state(name(from)), from);
    for (const A to : {A::kPlanned, A::kRunning, A::kEnded}) {
      EXPECT_EQ(legal(from, to), from < to);
    }
  }
  for (const Wish wish : {Wish::kRun, Wish::kStop, Wish::kCancel, Wish::kKill}) {
    EXPECT_EQ(parse_wish(name(wish)), wish);
  }
  EXPECT_THROW(parse_stage_state("Done"), Error);
  EXPECT_THROW(parse_attempt_state(""), Error);
  EXPECT_THROW(parse_wish("pause"), Error);
}

TEST(States, AJobIsWhatItsStagesAre) {
  const auto of = [](std::vector<S> stages) { return job_state(stages); };
  EXPECT_EQ(of({S::kDone}), S::kDone);
  EXPECT_EQ(of({S::kDone, S::kPending}), S::kQueued);
  EXPECT_EQ(of({S::kDone, S::kRunning, S::kPending}), S::kRunning);
  EXPECT_EQ(of({S::kBackoff, S::kRunning}), S::kRunning);
  EXPECT_EQ(of({S::kBackoff, S::kStopping}), S::kStopping);
  EXPECT_EQ(of({S::kQueued, S::kFailed}), S::kQueued);
  EXPECT_EQ(of({S::kCancelled, S::kFailed}), S::kFailed);
  EXPECT_EQ(of({S::kStopped, S::kCancelled}), S::kCancelled);
  EXPECT_EQ(of({S::kStopped, S::kDone}), S::kStopped);
}

}  // namespace
}  // namespace talaria::coordinator
