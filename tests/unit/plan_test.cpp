// SPDX-License-Identifier: Apache-2.0
// schedule() and reconcile() as tables: a situation, and the actions that must follow, written as
// "stage:action".
#include "coordinator/state/plan.h"

#include <algorithm>

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace talaria::coordinator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using S = StageState;
using A = AttemptState;
using L = Observation::Launcher;

constexpr double kNow = 1000.0;

StageRow stage_in(S state, std::string name = "only", std::vector<std::string> after = {}) {
  StageRow stage;
  stage.name = std::move(name);
  stage.state = state;
  stage.after = std::move(after);
  stage.run_directory = "/runs/x";
  return stage;
}

StageRow with_attempt(S state, A attempt_state) {
  StageRow stage = stage_in(state);
  stage.attempt.emplace();
  stage.attempt->attempt = 1;
  stage.attempt->state = attempt_state;
  return stage;
}

JobRow job_of(std::int64_t id, std::vector<StageRow> stages, Wish wish = Wish::kRun) {
  JobRow job;
  job.id = id;
  job.wish = wish;
  job.stages = std::move(stages);
  for (std::size_t i = 0; i < job.stages.size(); ++i) {
    job.stages[i].key = {id, static_cast<int>(i)};
  }
  return job;
}

std::string describe(const Action& action) {
  using K = Action::Kind;
  const std::string key = fmt::format("{}.{}:", action.stage.job, action.stage.stage);
  switch (action.kind) {
    case K::kMove:
      return fmt::format("{}{}", key, name(action.to));
    case K::kStart:
      return key + "start";
    case K::kLaunch:
      return key + "launch";
    case K::kRunning:
      return key + "is running";
    case K::kEnd:
      return fmt::format("{}end {} {}", key, action.end.outcome, name(action.end.next));
    case K::kAskStop:
      return key + "ask";
    case K::kKill:
      return key + "kill";
  }
  return "?";
}

std::vector<std::string> describe(const std::vector<Action>& actions) {
  std::vector<std::string> words;
  words.reserve(actions.size());
  for (const Action& action : actions) words.push_back(describe(action));
  return words;
}

std::string joined(const std::vector<Action>& actions) {
  return fmt::format("{}", fmt::join(describe(actions), ", "));
}

// --- schedule

std::vector<std::string> scheduled(const std::vector<JobRow>& jobs, int parallel_jobs,
                                   double now = kNow) {
  return describe(schedule(jobs, Limits{parallel_jobs}, {}, now));
}

StageRow gated(StageRow stage) {
  stage.gates = {"base.loss < 3"};
  return stage;
}

TEST(Schedule, AStageWithGatesWaitsForTheirVerdict) {
  const std::vector<JobRow> jobs = {job_of(1, {gated(stage_in(S::kQueued))}),
                                    job_of(2, {stage_in(S::kQueued)}),
                                    job_of(3, {stage_in(S::kQueued)})};
  const auto actions = [&](const std::map<StageKey, std::string>& gates, int parallel_jobs) {
    return describe(schedule(jobs, Limits{parallel_jobs}, gates, kNow));
  };
  EXPECT_THAT(actions({}, 2), ElementsAre("2.0:start")) << "it keeps its place in the queue";
  EXPECT_THAT(actions({{{1, 0}, ""}}, 2), ElementsAre("1.0:start", "2.0:start"));
  EXPECT_THAT(actions({{{1, 0}, "too bad"}}, 2), ElementsAre("1.0:failed", "2.0:start"));
  EXPECT_EQ(schedule(jobs, Limits{1}, {{{1, 0}, "too bad"}}, kNow).at(0).reason, "too bad");
  EXPECT_THAT(actions({{{1, 0}, "too bad"}}, 0), IsEmpty()) << "it is not its turn";
}

TEST(Schedule, OnlyWhatIsDueIsJudged) {
  const auto judged = [](const std::vector<JobRow>& jobs, int parallel_jobs) {
    return to_judge(jobs, Limits{parallel_jobs}, kNow);
  };
  const std::vector<JobRow> jobs = {job_of(1, {stage_in(S::kQueued)}),
                                    job_of(2, {gated(stage_in(S::kQueued))}),
                                    job_of(3, {gated(stage_in(S::kPending))}),
                                    job_of(4, {gated(stage_in(S::kQueued))}, Wish::kStop)};
  EXPECT_THAT(judged(jobs, 1), IsEmpty());
  EXPECT_THAT(judged(jobs, 9), ElementsAre(StageKey{2, 0}));
  StageRow again = gated(with_attempt(S::kBackoff, A::kEnded));
  EXPECT_THAT(judged({job_of(1, {again})}, 1), IsEmpty()) << "it has passed them";
  EXPECT_THAT(describe(schedule({job_of(1, {again})}, Limits{1}, {}, kNow)),
              ElementsAre("1.0:start"));
}

StageRow backoff_until(double not_before) {
  StageRow stage = with_attempt(S::kBackoff, A::kEnded);
  stage.not_before = not_before;
  return stage;
}

TEST(Schedule, NothingForNobody) {
  EXPECT_THAT(scheduled({}, 4), IsEmpty());
  EXPECT_THAT(scheduled({job_of(1, {stage_in(S::kDone)})}, 4), IsEmpty());
}

TEST(Schedule, FirstInFirstOutHoweverTheListIsSorted) {
  const std::vector<JobRow> jobs = {job_of(3, {stage_in(S::kQueued)}),
                                    job_of(1, {stage_in(S::kQueued)}),
                                    job_of(2, {stage_in(S::kQueued)})};
  EXPECT_THAT(scheduled(jobs, 1), ElementsAre("1.0:start"));
  EXPECT_THAT(scheduled(jobs, 2), ElementsAre("1.0:start", "2.0:start"));
  EXPECT_THAT(scheduled(jobs, 9), ElementsAre("1.0:start", "2.0:start", "3.0:start"));
  EXPECT_THAT(scheduled(jobs, 0), IsEmpty());
}

TEST(Schedule, WhoHoldsASlot) {
  struct Case {
    S state;
    bool holds;
  };
  for (const auto& [state, holds] : std::vector<Case>{{S::kPending, false},
                                                      {S::kRunning, true},
                                                      {S::kBackoff, true},
                                                      {S::kStopping, true},
                                                      {S::kDone, false},
                                                      {S::kFailed, false},
                                                      {S::kStopped, false},
                                                      {S::kCancelled, false}}) {
    StageRow stage = stage_in(state);
    stage.not_before = kNow + 1.0;
    // A later job's slot counts as an earlier one's does.
    for (const std::int64_t id : {1, 9}) {
      const auto actions = scheduled({job_of(id, {stage}), job_of(5, {stage_in(S::kQueued)})}, 1);
      EXPECT_EQ(actions.empty(), holds) << name(state) << " of job " << id;
    }
  }
}

TEST(Schedule, StagesOfAJobInTheirOrder) {
  const std::vector<JobRow> jobs = {job_of(1, {stage_in(S::kDone), stage_in(S::kQueued),
                                               stage_in(S::kPending), stage_in(S::kQueued)}),
                                    job_of(2, {stage_in(S::kQueued)})};
  EXPECT_THAT(scheduled(jobs, 1), ElementsAre("1.1:start"));
  EXPECT_THAT(scheduled(jobs, 2), ElementsAre("1.1:start", "1.3:start"));
  EXPECT_THAT(scheduled(jobs, 3), ElementsAre("1.1:start", "1.3:start", "2.0:start"));
}

TEST(Schedule, AStageInBackoffStartsWhenItsTimeHasCome) {
  const JobRow waiting = job_of(2, {stage_in(S::kQueued)});
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow + 0.1)}), waiting}, 1), IsEmpty());
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow)}), waiting}, 1), ElementsAre("1.0:start"));
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow - 5.0)}), waiting}, 2),
              ElementsAre("1.0:start", "2.0:start"));
  // It keeps its slot though the limit is lower now.
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow)}), job_of(2, {backoff_until(kNow)})}, 1),
              ElementsAre("1.0:start", "2.0:start"));
}

TEST(Schedule, AClockThatWasSetBackDelaysNobody) {
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow + 3600.0)})}, 1), ElementsAre("1.0:start"));
  EXPECT_THAT(scheduled({job_of(1, {backoff_until(kNow + 60.0)})}, 1), IsEmpty());
}

TEST(Schedule, WhoIsNotToRunIsNotStartedAndLetsOthersPass) {
  for (const Wish wish : {Wish::kStop, Wish::kCancel, Wish::kKill}) {
    EXPECT_THAT(
        scheduled({job_of(1, {stage_in(S::kQueued)}, wish), job_of(2, {stage_in(S::kQueued)})}, 1),
        ElementsAre("2.0:start"))
        << name(wish);
    EXPECT_THAT(scheduled({job_of(1, {backoff_until(0.0)}, wish)}, 1), IsEmpty()) << name(wish);
  }
}

TEST(Schedule, TheWaitDoublesUpToAMinute) {
  EXPECT_EQ(backoff_seconds(0), 0.5);
  EXPECT_EQ(backoff_seconds(1), 0.5);
  EXPECT_EQ(backoff_seconds(2), 1.0);
  EXPECT_EQ(backoff_seconds(3), 2.0);
  EXPECT_EQ(backoff_seconds(7), 32.0);
  EXPECT_EQ(backoff_seconds(8), 60.0);
  EXPECT_EQ(backoff_seconds(2000000000), 60.0);
}

// --- reconcile: stages without an attempt

struct Waiting {
  const char* what;
  std::vector<StageRow> before;  // "a", "b", ...: the last stage waits for them all
  Wish wish;
  const char* actions;
  const char* reason;
};

TEST(Reconcile, StagesThatWaitForOthers) {
  const std::vector<Waiting> table = {
      {"one done", {stage_in(S::kDone, "a")}, Wish::kRun, "queued", "are done"},
      {"all done", {stage_in(S::kDone, "a"), stage_in(S::kDone, "b")}, Wish::kRun, "queued", ""},
      {"one of two", {stage_in(S::kDone, "a"), stage_in(S::kQueued, "b")}, Wish::kRun, "", ""},
      {"queued", {stage_in(S::kQueued, "a")}, Wish::kRun, "", ""},
      {"failed", {stage_in(S::kFailed, "a")}, Wish::kRun, "cancelled", "stage a, which this one"},
      {"failed", {stage_in(S::kFailed, "a")}, Wish::kRun, "cancelled", "needs, failed"},
      {"cancelled", {stage_in(S::kCancelled, "a")}, Wish::kRun, "cancelled", "was cancelled"},
      {"stopped", {stage_in(S::kStopped, "a")}, Wish::kRun, "stopped", "was stopped"},
      {"failed counts most",
       {stage_in(S::kStopped, "a"), stage_in(S::kCancelled, "b"), stage_in(S::kFailed, "c")},
       Wish::kRun,
       "cancelled",
       "stage c"},
      {"cancelled more than stopped",
       {stage_in(S::kStopped, "a"), stage_in(S::kCancelled, "b")},
       Wish::kRun,
       "cancelled",
       "stage b"},
      {"failed while another goes on",
       {stage_in(S::kQueued, "a"), stage_in(S::kFailed, "b")},
       Wish::kRun,
       "cancelled",
       "stage b"},
      {"stop", {stage_in(S::kDone, "a")}, Wish::kStop, "stopped", "stopped by request"},
      {"stop after a failure", {stage_in(S::kFailed, "a")}, Wish::kStop, "stopped", "by request"},
      {"cancel", {stage_in(S::kDone, "a")}, Wish::kCancel, "cancelled", "cancelled by request"},
      {"kill", {stage_in(S::kDone, "a")}, Wish::kKill, "cancelled", "killed by request"}};
  for (const Waiting& row : table) {
    std::vector<StageRow> stages = row.before;
    std::vector<std::string> names;
    names.reserve(stages.size());
    for (const StageRow& stage : stages) names.push_back(stage.name);
    stages.push_back(stage_in(S::kDone, "unrelated"));
    stages.push_back(stage_in(S::kPending, "last", names));
    const StageKey last = {7, static_cast<int>(stages.size()) - 1};
    std::vector<Action> actions = reconcile({job_of(7, stages, row.wish)}, {}, kNow);
    std::erase_if(actions, [&](const Action& action) { return action.stage != last; });
    const std::string expected =
        row.actions[0] == 0 ? "" : fmt::format("7.{}:{}", last.stage, row.actions);
    EXPECT_EQ(joined(actions), expected) << row.what;
    if (actions.empty()) continue;
    EXPECT_THAT(actions[0].reason, HasSubstr(row.reason)) << row.what;
  }
}

TEST(Reconcile, AWishEndsWhatHasNoAttempt) {
  struct Case {
    S state;
    Wish wish;
    const char* actions;
  };
  for (const auto& [state, wish, actions] :
       std::vector<Case>{{S::kQueued, Wish::kRun, ""},
                         {S::kQueued, Wish::kStop, "1.0:stopped"},
                         {S::kQueued, Wish::kCancel, "1.0:cancelled"},
                         {S::kQueued, Wish::kKill, "1.0:cancelled"},
                         {S::kBackoff, Wish::kRun, ""},
                         {S::kBackoff, Wish::kStop, "1.0:stopped"},
                         {S::kBackoff, Wish::kCancel, "1.0:cancelled"},
                         {S::kBackoff, Wish::kKill, "1.0:cancelled"},
                         {S::kDone, Wish::kKill, ""},
                         {S::kFailed, Wish::kStop, ""},
                         {S::kStopped, Wish::kStop, ""},
                         {S::kCancelled, Wish::kCancel, ""}}) {
    const StageRow stage = state == S::kBackoff ? backoff_until(0.0) : stage_in(state);
    EXPECT_EQ(joined(reconcile({job_of(1, {stage}, wish)}, {}, kNow)), actions)
        << name(state) << ", " << name(wish);
  }
}

TEST(Reconcile, EveryStageOfEveryJobGetsItsActions) {
  const auto actions = describe(reconcile(
      {job_of(1, {stage_in(S::kDone, "a"), stage_in(S::kPending, "b", {"a"})}),
       job_of(2, {stage_in(S::kQueued, "a"), stage_in(S::kPending, "b", {"a"})}, Wish::kCancel)},
      {}, kNow));
  EXPECT_THAT(actions, ElementsAre("1.1:queued", "2.0:cancelled", "2.1:cancelled"));
}

// --- reconcile: an attempt without a report

struct Watched {
  const char* what;
  S stage;
  A attempt;
  Wish wish;
  Observation seen;
  const char* actions;
};

Observation launcher(L launcher, int launches = 0, double last_launch = 0.0) {
  Observation seen;
  seen.launcher = launcher;
  seen.holder = launcher == L::kForeign ? "pid 17 on node1" : "";
  seen.launches = launches;
  seen.last_launch = last_launch;
  return seen;
}

Observation alive(bool asked = false, bool killed = false) {
  Observation seen = launcher(L::kAlive, 1, kNow - 100.0);
  seen.asked = asked;
  seen.killed = killed;
  return seen;
}

void expect_actions(const std::vector<Watched>& table) {
  for (const Watched& row : table) {
    const JobRow job = job_of(1, {with_attempt(row.stage, row.attempt)}, row.wish);
    EXPECT_EQ(joined(reconcile({job}, {{{1, 0}, row.seen}}, kNow)), row.actions) << row.what;
  }
}

TEST(Reconcile, ALauncherThatLives) {
  expect_actions({
      {"came up", S::kRunning, A::kPlanned, Wish::kRun, alive(), "1.0:is running"},
      {"goes on", S::kRunning, A::kRunning, Wish::kRun, alive(), ""},
      {"stop", S::kRunning, A::kRunning, Wish::kStop, alive(), "1.0:ask"},
      {"stop, asked before it was written", S::kRunning, A::kRunning, Wish::kStop, alive(true),
       "1.0:ask"},
      {"cancel", S::kRunning, A::kRunning, Wish::kCancel, alive(), "1.0:ask"},
      {"kill", S::kRunning, A::kRunning, Wish::kKill, alive(), "1.0:kill"},
      {"stop while it came up", S::kRunning, A::kPlanned, Wish::kStop, alive(),
       "1.0:is running, 1.0:ask"},
      {"kill while it came up", S::kRunning, A::kPlanned, Wish::kKill, alive(),
       "1.0:is running, 1.0:kill"},
      {"stopping", S::kStopping, A::kRunning, Wish::kStop, alive(true), ""},
      {"stopping, asked by a coordinator that died", S::kStopping, A::kRunning, Wish::kStop,
       alive(), "1.0:ask"},
      {"stopping, cancelled, too", S::kStopping, A::kRunning, Wish::kCancel, alive(true), ""},
      {"stopping, then killed", S::kStopping, A::kRunning, Wish::kKill, alive(true), "1.0:kill"},
      {"killed", S::kStopping, A::kRunning, Wish::kKill, alive(true, true), ""},
      {"killed for a complaint while stopping", S::kStopping, A::kRunning, Wish::kStop,
       alive(false, true), ""},
  });
}

TEST(Reconcile, NoLauncherNoReport) {
  expect_actions({
      {"first", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent), "1.0:launch"},
      {"died under an earlier coordinator", S::kRunning, A::kRunning, Wish::kRun,
       launcher(L::kAbsent), "1.0:launch"},
      {"died long after its start", S::kRunning, A::kRunning, Wish::kRun,
       launcher(L::kAbsent, 1, kNow - 900.0), "1.0:launch"},
      {"about to come up", S::kRunning, A::kPlanned, Wish::kRun,
       launcher(L::kAbsent, 1, kNow - 0.4), ""},
      {"did not come up", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent, 1, kNow - 0.5),
       "1.0:launch"},
      {"second wait", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent, 2, kNow - 0.9),
       ""},
      {"third", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent, 2, kNow - 1.0),
       "1.0:launch"},
      {"fifth wait", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent, 5, kNow - 7.9), ""},
      {"given up", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kAbsent, 5, kNow - 8.0),
       "1.0:end failed failed"},
      {"the clock was set back", S::kRunning, A::kPlanned, Wish::kRun,
       launcher(L::kAbsent, 1, kNow + 3600.0), "1.0:launch"},
      // Its ranks may live: only a launcher can prove them dead.
      {"stop: cleaned up first", S::kRunning, A::kRunning, Wish::kStop, launcher(L::kAbsent),
       "1.0:launch"},
      {"kill: cleaned up first", S::kStopping, A::kRunning, Wish::kKill, launcher(L::kAbsent),
       "1.0:launch"},
      {"given up, stopped", S::kRunning, A::kPlanned, Wish::kStop,
       launcher(L::kAbsent, 5, kNow - 8.0), "1.0:end failed stopped"},
      {"given up, killed", S::kStopping, A::kPlanned, Wish::kKill,
       launcher(L::kAbsent, 5, kNow - 8.0), "1.0:end failed cancelled"},
  });
}

TEST(Reconcile, ARunDirectoryInOthersHands) {
  expect_actions({
      {"the launcher before may be about to exit", S::kRunning, A::kPlanned, Wish::kRun,
       launcher(L::kForeign), "1.0:launch"},
      {"wait", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kForeign, 1, kNow - 0.1), ""},
      {"try again", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kForeign, 4, kNow - 4.0),
       "1.0:launch"},
      {"end", S::kRunning, A::kPlanned, Wish::kRun, launcher(L::kForeign, 5, kNow - 8.0),
       "1.0:end invalid failed"},
      {"end while stopping", S::kStopping, A::kPlanned, Wish::kStop,
       launcher(L::kForeign, 5, kNow - 8.0), "1.0:end invalid stopped"},
      {"end, cancelled", S::kRunning, A::kPlanned, Wish::kCancel,
       launcher(L::kForeign, 5, kNow - 8.0), "1.0:end invalid cancelled"},
  });
}

// Only a launcher can prove its ranks dead.
TEST(Reconcile, WhatMayLiveIsNeverGivenUp) {
  for (const L state : {L::kAbsent, L::kForeign}) {
    for (const Wish wish : {Wish::kRun, Wish::kStop, Wish::kKill}) {
      Observation started = launcher(state, 9, kNow - 60.0);
      started.started = true;
      Observation early = started;
      early.last_launch = kNow - 59.0;
      expect_actions({
          {"seen alive", S::kRunning, A::kRunning, wish, launcher(state, 9, kNow - 60.0),
           "1.0:launch"},
          {"seen alive, wait", S::kStopping, A::kRunning, wish, launcher(state, 9, kNow - 59.0),
           ""},
          {"has started.json", S::kRunning, A::kPlanned, wish, started, "1.0:launch"},
          {"has started.json, wait", S::kStopping, A::kPlanned, wish, early, ""},
      });
    }
  }
}

TEST(Reconcile, GivingUpSaysWhy) {
  const JobRow job = job_of(1, {with_attempt(S::kRunning, A::kPlanned)});
  Observation seen = launcher(L::kAbsent, 5, 0.0);
  seen.reason = "exec talaria-launch: No such file or directory";
  EXPECT_THAT(reconcile({job}, {{{1, 0}, seen}}, kNow).at(0).end.reason,
              AllOf(HasSubstr("talaria-launch could not be started: 5 times"),
                    HasSubstr("No such file or directory")));
  seen = launcher(L::kForeign, 5, 0.0);
  const AttemptEnd end = reconcile({job}, {{{1, 0}, seen}}, kNow).at(0).end;
  EXPECT_THAT(end.reason, HasSubstr("run directory /runs/x in use by pid 17 on node1"));
  EXPECT_EQ(end.exit_code, 2);
}

TEST(Reconcile, WhatWasNotSeenIsLeftAlone) {
  for (const Wish wish : {Wish::kRun, Wish::kStop, Wish::kKill}) {
    for (const S state : {S::kRunning, S::kStopping}) {
      EXPECT_THAT(reconcile({job_of(1, {with_attempt(state, A::kRunning)}, wish)}, {}, kNow),
                  IsEmpty());
    }
  }
}

TEST(ReconcileDeathTest, ARunningStageHasAnAttempt) {
  const JobRow job = job_of(1, {stage_in(S::kRunning)});
  EXPECT_DEATH(reconcile({job}, {}, kNow), "job 1 stage 0 is running without an attempt");
}

// --- reconcile: reports

struct Reported {
  const char* outcome;
  const char* complaint;
  S stage;
  Wish wish;
  bool new_checkpoint;
  int failures;      // before
  int max_restarts;  //
  const char* end;
  int failures_after;
  const char* reason;
};

void expect_end(const Reported& row) {
  StageRow stage = with_attempt(row.stage, A::kRunning);
  stage.failures = row.failures;
  stage.max_restarts = row.max_restarts;
  // A launcher that has reported may still be about to exit.
  for (const L state : {L::kAbsent, L::kAlive, L::kForeign}) {
    Observation seen = launcher(state);
    seen.reported = true;
    seen.outcome = row.outcome;
    seen.exit_code = 7;
    seen.reason = "the report's word";
    seen.complaint = row.complaint;
    seen.new_checkpoint = row.new_checkpoint;
    const auto actions = reconcile({job_of(1, {stage}, row.wish)}, {{{1, 0}, seen}}, kNow);
    const std::string what =
        fmt::format("{} ({}) {} {}", row.outcome, row.complaint, name(row.stage), name(row.wish));
    ASSERT_EQ(joined(actions), fmt::format("1.0:end {}", row.end)) << what;
    EXPECT_THAT(actions[0].end.reason, HasSubstr(row.reason)) << what;
    EXPECT_EQ(actions[0].end.failures, row.failures_after) << what;
    const bool again = actions[0].end.next == S::kBackoff;
    EXPECT_EQ(actions[0].end.not_before, again ? kNow + backoff_seconds(row.failures_after) : 0.0)
        << what;
    EXPECT_TRUE(legal(row.stage, actions[0].end.next)) << what;
  }
}

TEST(Reconcile, DoneIsDone) {
  for (const char* complaint : {"", "rank 3 hung"}) {
    for (const S stage : {S::kRunning, S::kStopping}) {
      for (const Wish wish : {Wish::kRun, Wish::kStop, Wish::kCancel, Wish::kKill}) {
        expect_end({"done", complaint, stage, wish, false, 2, 3, "done done", 0, "word"});
      }
    }
  }
}

TEST(Reconcile, AnInvalidJobIsNotTriedAgain) {
  for (const Wish wish : {Wish::kRun, Wish::kStop, Wish::kCancel}) {
    expect_end({"invalid", "", S::kRunning, wish, false, 1, 3, "invalid failed", 1, "word"});
  }
}

TEST(Reconcile, WhereAStoppedAttemptEnds) {
  const S running = S::kRunning;
  const S stopping = S::kStopping;
  for (const Reported& row : std::vector<Reported>{
           {"stopped", "", running, Wish::kRun, false, 1, 3, "stopped stopped", 1, "from outside"},
           {"stopped", "", running, Wish::kRun, true, 1, 3, "stopped stopped", 0, "from outside"},
           {"stopped", "", running, Wish::kStop, true, 1, 3, "stopped stopped", 0, "by request"},
           {"stopped", "", stopping, Wish::kStop, true, 1, 3, "stopped stopped", 0, "by request"},
           {"stopped", "", stopping, Wish::kCancel, true, 1, 3, "stopped cancelled", 0,
            "cancelled by request: the report's word"},
           {"stopped", "", stopping, Wish::kKill, true, 0, 3, "stopped cancelled", 0, "killed"}}) {
    expect_end(row);
  }
}

TEST(Reconcile, WhereAFailedAttemptEnds) {
  const S running = S::kRunning;
  const S stopping = S::kStopping;
  for (const Reported& row : std::vector<Reported>{
           {"failed", "", running, Wish::kRun, false, 0, 3, "failed backoff", 1, "word"},
           {"failed", "", running, Wish::kRun, false, 2, 3, "failed backoff", 3, "word"},
           {"failed", "", running, Wish::kRun, false, 3, 3, "failed failed", 4,
            "gave up after 4 failures in a row without a new checkpoint: the report's word"},
           {"failed", "", running, Wish::kRun, true, 3, 3, "failed backoff", 1, "word"},
           {"failed", "", running, Wish::kRun, false, 0, 0, "failed failed", 1,
            "max_restarts is 0"},
           {"failed", "", running, Wish::kRun, true, 0, 0, "failed failed", 1, "max_restarts is 0"},
           {"failed", "", running, Wish::kStop, false, 0, 3, "failed stopped", 1,
            "failed meanwhile"},
           {"failed", "", stopping, Wish::kStop, false, 3, 3, "failed stopped", 4, "word"},
           {"failed", "", stopping, Wish::kCancel, false, 0, 3, "failed cancelled", 1, "word"},
           {"failed", "", stopping, Wish::kKill, false, 0, 3, "failed cancelled", 1, "killed by"},
           // Stopping, though the wish is gone: it cannot go to backoff.
           {"failed", "", stopping, Wish::kRun, false, 0, 3, "failed stopped", 1, "word"},
           // Not a word of this program: nothing good, at least.
           {"", "", running, Wish::kRun, false, 0, 3, "failed backoff", 1, "word"}}) {
    expect_end(row);
  }
}

TEST(Reconcile, AComplaintOverridesTheReport) {
  const S running = S::kRunning;
  for (const char* outcome : {"failed", "stopped", "invalid"}) {
    for (const Reported& row :
         std::vector<Reported>{{outcome, "rank 3 hung", running, Wish::kRun, false, 0, 3,
                                "failed backoff", 1, "rank 3 hung"},
                               {outcome, "rank 3 hung", running, Wish::kRun, false, 3, 3,
                                "failed failed", 4, "without a new checkpoint: rank 3 hung"},
                               {outcome, "rank 3 hung", S::kStopping, Wish::kStop, false, 0, 3,
                                "failed stopped", 1, "rank 3 hung"},
                               {outcome, "rank 3 hung", running, Wish::kKill, false, 0, 3,
                                "failed cancelled", 1, "rank 3 hung"}}) {
      expect_end(row);
    }
  }
}

TEST(Reconcile, ExitCodesTellTheSameAsTheOutcome) {
  struct Case {
    const char* outcome;
    const char* complaint;
    int reported;
    int recorded;
  };
  for (const auto& [outcome, complaint, reported, recorded] :
       std::vector<Case>{{"done", "", 0, 0},
                         {"stopped", "", 75, 75},
                         {"invalid", "", 2, 2},
                         {"failed", "", 137, 137},
                         {"failed", "hung", 137, 137},
                         {"stopped", "hung", 75, 1}}) {
    Observation seen;
    seen.reported = true;
    seen.outcome = outcome;
    seen.complaint = complaint;
    seen.exit_code = reported;
    const JobRow job = job_of(1, {with_attempt(S::kRunning, A::kRunning)});
    EXPECT_EQ(reconcile({job}, {{{1, 0}, seen}}, kNow).at(0).end.exit_code, recorded) << outcome;
  }
}

}  // namespace
}  // namespace talaria::coordinator
