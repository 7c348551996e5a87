// SPDX-License-Identifier: Apache-2.0
// Who is blamed for a hang, and what deadlines a run learns.
#include "coordinator/supervisor/monitor.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace talaria::coordinator {
namespace {

using wire::Phase;
using wire::Wait;

constexpr double kNow = 1000.0;

Deadlines all(double seconds) {
  Deadlines deadlines{};
  deadlines.fill(seconds);
  return deadlines;
}

// A rank that said `ago` seconds ago that it had been `in_phase` seconds in `phase`.
RankSignal rank(Phase phase, double in_phase, double ago, Wait wait = Wait::kNone) {
  RankSignal signal;
  signal.heard = true;
  signal.connected = true;
  signal.last_heard = kNow - ago;
  signal.beat.phase = phase;
  signal.beat.phase_seconds = in_phase;
  signal.beat.wait = wait;
  signal.beat.step = 7;
  return signal;
}

std::optional<Hang> judge(const std::vector<RankSignal>& ranks, double deadline) {
  return find_hang(ranks, all(deadline), 1.0, kNow - 100.0, kNow);
}

TEST(FindHang, NobodyIsBlamedWithinTheDeadline) {
  EXPECT_FALSE(judge({rank(Phase::kStep, 4, 0.5), rank(Phase::kStep, 0, 4.5)}, 5));
}

TEST(FindHang, TheSilentRankIsBlamedNotThoseThatWaitForIt) {
  const auto hang = judge({rank(Phase::kStep, 6, 0.2, Wait::kAllReduce), rank(Phase::kStep, 0, 5.9),
                           rank(Phase::kStep, 6, 0.1, Wait::kReceive)},
                          5);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_TRUE(hang->silent);
  EXPECT_NEAR(hang->seconds, 5.9, 1e-9);
  EXPECT_THAT(hang->describe("node1"), testing::HasSubstr("rank 1 on node1"));
}

TEST(FindHang, ASilentRankIsBlamedThoughItsOwnPhaseMayLastLonger) {
  Deadlines deadlines = all(5);
  deadlines[static_cast<std::size_t>(Phase::kSave)] = 100;
  const std::vector<RankSignal> ranks = {rank(Phase::kStep, 6, 0.2, Wait::kBarrier),
                                         rank(Phase::kSave, 1, 6.0)};
  const auto hang = find_hang(ranks, deadlines, 1.0, kNow - 100.0, kNow);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_EQ(hang->phase, Phase::kSave);
}

TEST(FindHang, OfThoseThatSpeakTheOneThatComputesIsBlamed) {
  const auto hang =
      judge({rank(Phase::kStep, 9, 0.2, Wait::kAllReduce), rank(Phase::kStep, 7, 0.2, Wait::kNone),
             rank(Phase::kStep, 8, 0.1, Wait::kReceive)},
            5);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_FALSE(hang->silent);
}

TEST(FindHang, OfThoseThatAllWaitTheLongestIsNamed) {
  const auto hang = judge(
      {rank(Phase::kStep, 6, 0.2, Wait::kAllReduce), rank(Phase::kStep, 8, 0.2, Wait::kAllReduce)},
      5);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_THAT(hang->describe(""), testing::HasSubstr("waiting in all_reduce"));
}

TEST(FindHang, ARankThatNeverCameIsBlamedOnceAnotherHasCome) {
  const RankSignal absent;
  EXPECT_FALSE(judge({absent, absent}, 5)) << "nobody can reach this coordinator";
  const auto hang = judge({rank(Phase::kSetup, 1, 0.1), absent}, 5);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_EQ(hang->phase, Phase::kStart);
}

TEST(FindHang, ARankThatSaidByeIsNotJudged) {
  RankSignal gone = rank(Phase::kFinish, 0, 50);
  gone.left = true;
  EXPECT_FALSE(judge({gone, rank(Phase::kFinish, 1, 0.1)}, 5));
}

TEST(FindHang, WhatDoesNotEndThoughAllItsRanksHaveIsSeen) {
  RankSignal gone = rank(Phase::kFinish, 0, 4);
  gone.left = true;
  RankSignal before = gone;
  before.last_heard = kNow - 30;
  EXPECT_FALSE(judge({before, gone}, 5)) << "counted from the last that left";
  gone.last_heard = kNow - 6;
  const auto hang = judge({before, gone}, 5);
  ASSERT_TRUE(hang);
  EXPECT_TRUE(hang->all_left);
  EXPECT_NEAR(hang->seconds, 6, 1e-9);
  EXPECT_THAT(hang->describe("node1"), testing::HasSubstr("all ranks have ended"));
}

wire::Beat beat(Phase phase, std::int64_t step, double seconds) {
  wire::Beat beat;
  beat.phase = phase;
  beat.step = step;
  beat.phase_seconds = seconds;
  return beat;
}

TEST(PhaseTimes, DeadlinesAreLearnedFromPhasesThatEnded) {
  PhaseTimes times;
  const auto at = [](Phase phase) { return static_cast<std::size_t>(phase); };
  EXPECT_DOUBLE_EQ(times.deadlines({})[at(Phase::kStep)], 600);
  times.observe(beat(Phase::kStep, 0, 3.0), beat(Phase::kStep, 0, 4.0));
  EXPECT_DOUBLE_EQ(times.deadlines({})[at(Phase::kStep)], 600) << "the first step is still running";
  times.observe(beat(Phase::kStep, 0, 4.0), beat(Phase::kStep, 1, 0.1));
  EXPECT_DOUBLE_EQ(times.deadlines({})[at(Phase::kStep)], 80);
  times.observe(beat(Phase::kSave, 1, 0.2), beat(Phase::kStep, 1, 0.1));
  EXPECT_DOUBLE_EQ(times.deadlines({})[at(Phase::kSave)], 30) << "never less than half a minute";
  Deadlines fixed{};
  fixed[at(Phase::kStep)] = 2.5;
  EXPECT_DOUBLE_EQ(times.deadlines(fixed)[at(Phase::kStep)], 2.5) << "what the job file says";
}

}  // namespace
}  // namespace talaria::coordinator
