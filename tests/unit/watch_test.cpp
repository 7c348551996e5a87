// SPDX-License-Identifier: Apache-2.0
// What a watched attempt makes of its ranks' reports: pace, restart, who may speak.
#include "coordinator/supervisor/watch.h"

#include <gtest/gtest.h>

namespace talaria::coordinator {
namespace {

StageWatch watch() {
  JobRow job;
  StageRow stage;
  stage.run_directory = "/nowhere";
  stage.job_toml =
      "[job]\nname = \"w\"\n[parallel]\ndata = 2\n[data]\nsources = [{ path = \"a.tok\" }]\n"
      "[train]\nsteps = 100\n";
  return {job, stage};
}

AttemptRow attempt() {
  AttemptRow row;
  row.attempt_id = "j1-s0-a";
  row.secret = "secret";
  return row;
}

wire::Hello hello(int rank) {
  wire::Hello hello;
  hello.attempt_id = "j1-s0-a";
  hello.secret = "secret";
  hello.rank = rank;
  hello.world = 2;
  return hello;
}

wire::Beat at(std::int64_t step) {
  wire::Beat beat;
  beat.phase = wire::Phase::kStep;
  beat.step = step;
  beat.steps = 100;
  return beat;
}

TEST(StageWatch, OnlyRanksOfTheAttemptMaySpeak) {
  StageWatch watched = watch();
  wire::Hello nobody = hello(0);
  nobody.attempt_id.clear();
  nobody.secret.clear();
  EXPECT_FALSE(watched.admits(nobody)) << "before an attempt there is no rank";
  watched.begin(attempt(), 0.0, 10.0);
  EXPECT_TRUE(watched.admits(hello(1)));
  EXPECT_FALSE(watched.admits(hello(2))) << "two ranks are 0 and 1";
  wire::Hello stranger = hello(0);
  stranger.secret = "guess";
  EXPECT_FALSE(watched.admits(stranger));
  stranger = hello(0);
  stranger.world = 4;
  EXPECT_FALSE(watched.admits(stranger));
}

TEST(StageWatch, TheTimeLeftFollowsFromTheStepsAfterTheFirst) {
  StageWatch watched = watch();
  watched.begin(attempt(), 0.0, 0.0);
  watched.joined(hello(0), 0.0);
  watched.said(0, at(40), 1.0);  // continued: 40 are done
  EXPECT_EQ(watched.progress().seconds_left, 0.0) << "not known yet";
  watched.said(0, at(41), 31.0);  // the first step was slow
  EXPECT_EQ(watched.progress().seconds_left, 0.0);
  watched.said(0, at(43), 33.0);  // a second each
  EXPECT_DOUBLE_EQ(watched.progress().seconds_left, 57.0);
  EXPECT_EQ(watched.progress().ranks_connected, 1);
}

TEST(StageWatch, ARestartIsToldOnceAtTheFirstStepAfterIt) {
  StageWatch watched = watch();
  watched.begin(attempt(), 1000.0, 0.0);
  watched.joined(hello(0), 0.0);
  watched.said(0, at(40), 1.0);
  EXPECT_FALSE(watched.restarted());
  watched.said(0, at(41), 2.0);
  EXPECT_TRUE(watched.restarted());
  EXPECT_FALSE(watched.restarted());
  watched.begin(attempt(), 0.0, 3.0);
  watched.joined(hello(0), 3.0);
  watched.said(0, at(41), 4.0);
  watched.said(0, at(42), 5.0);
  EXPECT_FALSE(watched.restarted()) << "a first start is none";
}

TEST(StageWatch, AnIterationsPhasesCountAsItsStep) {
  StageWatch watched = watch();
  watched.begin(attempt(), 1000.0, 0.0);
  watched.joined(hello(0), 0.0);
  wire::Beat rollout = at(0);
  rollout.phase = wire::Phase::kRollout;
  watched.said(0, rollout, 1.0);
  EXPECT_FALSE(watched.restarted());
  rollout.step = 1;  // of the second iteration: step 0's other phases were too short to be told
  watched.said(0, rollout, 2.0);
  EXPECT_TRUE(watched.restarted());
}

TEST(StageWatch, EachPhaseHasTheDeadlineOfItsKey) {
  StageRow stage;
  stage.run_directory = "/nowhere";
  stage.job_toml =
      "[job]\nname = \"w\"\n[data]\nsources = [{ path = \"a.tok\" }]\n[train]\nsteps = 100\n"
      "[monitor]\n";
  for (int i = 0; i < wire::kPhases; ++i) {
    stage.job_toml +=
        fmt::format("{}_seconds = {}\n", wire::phase_name(static_cast<wire::Phase>(i)), 10 + i);
  }
  for (int i = 0; i < wire::kPhases; ++i) {
    StageWatch watched(JobRow{}, stage);
    watched.begin(attempt(), 0.0, 0.0);
    wire::Hello alone = hello(0);
    alone.world = 1;
    watched.joined(alone, 0.0);
    wire::Beat beat = at(3);
    beat.phase = static_cast<wire::Phase>(i);
    watched.said(0, beat, 0.0);
    EXPECT_FALSE(watched.find_hang(10.0 + i - 0.5)) << i;
    const auto hang = watched.find_hang(10.0 + i + 0.5);
    ASSERT_TRUE(hang) << i;
    EXPECT_EQ(hang->phase, beat.phase);
  }
}

TEST(StageWatch, ARankThatComesBackBeforeItsOldConnectionIsLostStaysConnected) {
  StageWatch watched = watch();
  watched.begin(attempt(), 0.0, 0.0);
  watched.joined(hello(1), 1.0);
  watched.joined(hello(1), 2.0);
  watched.lost(1);
  EXPECT_TRUE(watched.rank_views(3.0)[1].connected);
  watched.lost(1);
  EXPECT_FALSE(watched.rank_views(3.0)[1].connected);
}

}  // namespace
}  // namespace talaria::coordinator
