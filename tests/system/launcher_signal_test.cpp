// SPDX-License-Identifier: Apache-2.0
// Requests to a running attempt: stop, end, dump; and a command that is stopped.
#include <csignal>
#include <fstream>
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "launch/attempt/proc.h"
#include "tests/system/launcher_support.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LauncherSignal : public LauncherTest {
 protected:
  // The fake mpirun of a launcher.
  static pid_t command(pid_t launcher) {
    return std::stoi(read_proc_file(fmt::format("/proc/{}/task/{}/children", launcher, launcher)));
  }
};

TEST_F(LauncherSignal, AStopReachesEveryRank) {
  const pid_t launcher = start(spec(3, {"say=ready", "until_stop"}));
  ASSERT_TRUE(eventually([&] { return is_running(3); }));
  const double asked = monotonic_seconds();
  ASSERT_TRUE(signal_launcher(folder() / "run", spec(1, {}).attempt_id, SIGTERM));
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_LT(monotonic_seconds() - asked, 0.9);
  EXPECT_EQ(report().outcome, Outcome::kStopped) << report().reason;
  expect_nothing_left();
}

// Whenever the request comes, it is not lost and kills nothing.
TEST_F(LauncherSignal, AnEarlyStopIsNotLost) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 12; ++round) {
    fs::remove_all(folder() / "run");
    const auto delay = static_cast<useconds_t>(random() % 40'000);
    SCOPED_TRACE(fmt::format("after {} us", delay));
    const pid_t launcher = start(spec(3, {"say=ready", "until_stop"}));
    // Before it has blocked its signals it is only a program that has not begun.
    ASSERT_TRUE(eventually([&] { return find_launcher(folder() / "run").pid == launcher; }));
    ::usleep(delay);
    ASSERT_EQ(::kill(launcher, SIGTERM), 0);
    ASSERT_EQ(wait(launcher), 0);
    ASSERT_EQ(report().outcome, Outcome::kStopped) << report().reason;
    expect_nothing_left();
  }
}

TEST_F(LauncherSignal, RanksThatDoNotStopAreEndedAfterTheGrace) {
  AttemptSpec slow = spec(2, {"say=ready", "wait"});
  slow.stop_grace_seconds = 0.3;
  const pid_t launcher = start(slow);
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  ::kill(launcher, SIGTERM);
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_EQ(report().outcome, Outcome::kFailed);
  EXPECT_EQ(report().reason, "the ranks had not stopped 0.3 s after they were asked to");
  expect_nothing_left();
}

TEST_F(LauncherSignal, AnEndIsAtOnce) {
  const pid_t launcher = start(spec(2, {"say=ready", "wait"}));
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  const double asked = monotonic_seconds();
  ::kill(launcher, SIGQUIT);
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_LT(monotonic_seconds() - asked, 0.9);
  EXPECT_EQ(report().reason, "ended at once, as requested (SIGQUIT)");
  expect_nothing_left();
}

TEST_F(LauncherSignal, ACommandStoppedForLongIsEnded) {
  AttemptSpec stopped = spec(2, {"say=ready", "wait"});
  stopped.stopped_seconds = 0.5;
  const pid_t launcher = start(stopped);
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  const double before = monotonic_seconds();
  ::kill(command(launcher), SIGSTOP);
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_LT(monotonic_seconds() - before, 2.5);
  EXPECT_THAT(report().reason, HasSubstr("was stopped for 0.5 s (SIGSTOP)"));
  expect_nothing_left();
}

TEST_F(LauncherSignal, ACommandStoppedForAMomentGoesOn) {
  AttemptSpec stopped = spec(2, {"say=ready", "sleep=1", "exit=0"});
  stopped.stopped_seconds = 0.6;
  const pid_t launcher = start(stopped);
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  for (int i = 0; i < 3; ++i) {
    ::kill(command(launcher), SIGSTOP);
    ::usleep(200'000);
    ::kill(command(launcher), SIGCONT);
    ::usleep(20'000);
  }
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_EQ(report().outcome, Outcome::kDone) << report().reason;
}

TEST_F(LauncherSignal, ADumpNamesTheFunctionsAndLeavesTheRankAsItWas) {
  const pid_t launcher = start(spec(3, {"say=ready", "wait"}));
  ASSERT_TRUE(eventually([&] { return is_running(3); }));
  ASSERT_EQ(::kill(worker(1), SIGSTOP), 0);
  ASSERT_TRUE(eventually([&] { return process_state(worker(1)) == 'T'; }));
  std::ofstream(attempt() / "dump") << "1\n2\n";
  ::kill(launcher, SIGUSR2);
  for (const int rank : {1, 2}) {
    const std::string file = rank_file(rank, ".stack");
    ASSERT_TRUE(eventually([&] { return fs::exists(attempt() / file); }));
    EXPECT_THAT(text(file), HasSubstr("talaria_test::a_rank_that_waits_for_ever() "
                                      "(launcher_program)"));
    EXPECT_THAT(text(file), HasSubstr(fmt::format("thread {} ", worker(rank))));
  }
  EXPECT_FALSE(fs::exists(attempt() / "rank-00000.stack"));
  EXPECT_EQ(process_state(worker(1)), 'T');
  EXPECT_EQ(process_state(worker(2)), 'S');
  // Asked again, it is done again.
  fs::remove(attempt() / "rank-00001.stack");
  std::ofstream(attempt() / "dump.new") << "1\n";
  fs::rename(attempt() / "dump.new", attempt() / "dump");
  ::kill(launcher, SIGUSR2);
  EXPECT_TRUE(eventually([&] { return fs::exists(attempt() / "rank-00001.stack"); }));
  EXPECT_EQ(process_state(worker(1)), 'T');
  ::kill(launcher, SIGQUIT);
  EXPECT_EQ(wait(launcher), 0);
  expect_nothing_left();
}

// To the whole group of a rank, as mpirun does it: the shim lives on and its worker hears it.
TEST_F(LauncherSignal, ASignalToTheGroupOfARankReachesItsWorkerOnly) {
  const pid_t launcher = start(spec(2, {"say=ready", "until_stop"}));
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  for (const int rank : {0, 1}) {
    for (const int signal : {SIGTERM, SIGUSR2, SIGHUP, SIGUSR1}) {
      if (signal != SIGHUP) ::kill(-::getpgid(shim(rank)), signal);
    }
  }
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_EQ(report().outcome, Outcome::kStopped) << report().reason;
}

}  // namespace
}  // namespace talaria::launch
