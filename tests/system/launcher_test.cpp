// SPDX-License-Identifier: Apache-2.0
// How an attempt ends, and that nothing of it is left.
#include <csignal>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "launch/attempt/cgroup.h"
#include "launch/attempt/command_line.h"
#include "launch/attempt/proc.h"
#include "launch/attempt/small_file.h"
#include "tests/system/launcher_support.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

using Launcher = LauncherTest;

TEST_F(Launcher, Done) {
  const double before = wall_seconds();
  const ExitReport report = run(spec(3, {"say=hello", "exit=0"}));
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.reason;
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_EQ(report.failed, 0.0);
  EXPECT_GE(report.started, before);
  EXPECT_GE(report.ended, report.started);
  ASSERT_EQ(report.ranks.size(), 3U);
  EXPECT_EQ(report.ranks[2].rank, 2);
  EXPECT_EQ(text("rank-00001.log"), "hello\n");
  EXPECT_EQ(text("job.toml"), "[job]\n");
  EXPECT_EQ(text("channel"), "localhost:1");
  for (const char* file : {"secret", "spec.json"}) {
    EXPECT_EQ(fs::status(attempt() / file).permissions(),
              fs::perms::owner_read | fs::perms::owner_write);
  }
  EXPECT_EQ(starts(), 1);
  expect_nothing_left();
}

TEST_F(Launcher, StoppedWithACheckpoint) {
  const ExitReport report = run(spec(2, {"exit=75"}));
  EXPECT_EQ(report.outcome, Outcome::kStopped) << report.reason;
  EXPECT_EQ(report.exit_code, 75);
}

TEST_F(Launcher, ARankThatFailsEndsTheOthersAndSaysWhy) {
  const double before = monotonic_seconds();
  const ExitReport report =
      run(spec(3, {"say=ready", "@2:say=\x1b[31mcannot open x\x1b[0m", "@2:exit=1", "wait"}));
  EXPECT_LT(monotonic_seconds() - before, 3.0);
  EXPECT_EQ(report.outcome, Outcome::kFailed);
  EXPECT_EQ(report.exit_code, 1);
  EXPECT_THAT(report.reason, testing::MatchesRegex("rank 2 on .* ended with exit code 1: "
                                                   "\\\\x1b\\[31mcannot open x\\\\x1b\\[0m"));
  ASSERT_TRUE(report.first.has_value());
  EXPECT_EQ(report.first->rank, 2);
  EXPECT_GT(report.failed, 0.0);
  EXPECT_EQ(report.last_lines,
            (std::vector<std::string>{"ready", "\\x1b[31mcannot open x\\x1b[0m"}));
  expect_nothing_left();
}

TEST_F(Launcher, ExitCode2IsAnInvalidJob) {
  const ExitReport report =
      run(spec(2, {"@1:say=job.toml:3: train.steps: 0", "@1:exit=2", "wait"}));
  EXPECT_EQ(report.outcome, Outcome::kInvalid);
  EXPECT_EQ(report.exit_code, 2);
  EXPECT_THAT(report.reason, HasSubstr(": job.toml:3: train.steps: 0"));
}

TEST_F(Launcher, AKilledRankIsNamedWithWhatItWasDoing) {
  const pid_t launcher = start(spec(3, {"@1:save", "say=ready", "wait"}));
  ASSERT_TRUE(eventually([&] { return is_running(3); }));
  const double killed = wall_seconds();
  ASSERT_EQ(::kill(worker(1), SIGKILL), 0);
  wait(launcher);
  const ExitReport ended = report();
  RecordProperty("kill_to_exit_ms", static_cast<int>((ended.ended - killed) * 1000));
  EXPECT_LT(ended.ended - killed, 2.0);  // 0.1 s on a quiet machine
  EXPECT_LT(ended.failed - killed, 1.0);
  EXPECT_THAT(ended.reason,
              testing::MatchesRegex(
                  "rank 1 on .* was killed by signal 9 \\(SIGKILL\\) in phase save after step 17"));
  EXPECT_EQ(ended.first->signal, SIGKILL);
  EXPECT_FALSE(ended.first->out_of_memory);
  expect_nothing_left();
}

TEST_F(Launcher, ACrashedRankDiesOfItsSignalAndLeavesNoCore) {
  const ExitReport report = run(spec(2, {fmt::format("@0:die={}", SIGABRT), "wait"}));
  EXPECT_THAT(report.reason, HasSubstr("signal 6 (SIGABRT)"));
}

TEST_F(Launcher, ACommandThatIsKilledTakesItsRanksWithIt) {
  const pid_t launcher = start(spec(2, {"say=ready", "wait"}));
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  const std::string children =
      read_proc_file(fmt::format("/proc/{}/task/{}/children", launcher, launcher));
  ASSERT_EQ(::kill(std::stoi(children), SIGKILL), 0);
  wait(launcher);
  EXPECT_EQ(report().reason, "launcher_program was killed by signal 9 (SIGKILL)");
  EXPECT_FALSE(report().first.has_value());
  expect_nothing_left();
}

TEST_F(Launcher, ACommandThatCannotStartIsAFailedAttempt) {
  AttemptSpec bad = spec(1, {});
  bad.argv = {"/no/such/mpirun\n"};
  const ExitReport ended = run(bad);
  EXPECT_EQ(ended.outcome, Outcome::kFailed);
  EXPECT_THAT(ended.reason, HasSubstr("cannot start /no/such/mpirun\\n"));
  EXPECT_THAT(ended.reason, HasSubstr("No such file"));
}

TEST_F(Launcher, AFolderThatIsGoneIsAFailedAttempt) {
  AttemptSpec bad = spec(1, {});
  bad.working_directory = "/no/such/folder";
  EXPECT_THAT(run(bad).reason, HasSubstr("in /no/such/folder: No such file"));
}

TEST_F(Launcher, AWorkerThatCannotStartIsAFailedRank) {
  AttemptSpec bad = spec(1, {});
  bad.argv.resize(9);
  bad.argv.emplace_back("/no/such/worker");
  const ExitReport ended = run(bad);
  EXPECT_THAT(ended.reason, HasSubstr("rank 0"));
  EXPECT_THAT(ended.reason, HasSubstr("cannot start /no/such/worker: No such file"));
}

TEST_F(Launcher, DaemonsThatEscapedAreFound) {
  for (const char* escape : {"escape=marked", "escape=bare"}) {
    SCOPED_TRACE(escape);
    fs::remove_all(folder() / "run");
    const ExitReport report = run(spec(2, {escape, "sleep=0.05", "exit=0"}));
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.reason;
    EXPECT_TRUE(fs::exists(folder() / "escaped"));
    expect_nothing_left();
  }
}

TEST_F(Launcher, AProcessThatAlwaysForksEndsToo) {
  const double before = monotonic_seconds();
  const ExitReport report = run(spec(1, {"respawn", "sleep=0.1", "exit=1"}));
  EXPECT_EQ(report.outcome, Outcome::kFailed);
  EXPECT_LT(monotonic_seconds() - before, 12.0);
  expect_nothing_left();
}

// Without any right to make a control group.
TEST_F(Launcher, AnotherUsersAttemptEndsAsCompletely) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  AttemptSpec theirs = spec(2, {"escape=bare", "respawn", "sleep=0.1", "exit=0"});
  theirs.memory_limit = 1 << 30;
  const int status = wait(start(theirs, "", 65534));
  EXPECT_EQ(status, 0) << read_proc_file((folder() / "output").string());
  EXPECT_EQ(report().outcome, Outcome::kDone) << report().reason;
  EXPECT_THAT(text("launcher.log"), HasSubstr("no limit is set"));
  expect_nothing_left();
}

TEST_F(Launcher, AnOutOfMemoryKillIsToldFromOthers) {
  AttemptSpec hungry = spec(2, {"@1:eat", "wait"});
  hungry.memory_limit = std::int64_t{100} << 20;
  const AttemptCgroup probe = AttemptCgroup::make(own_cgroups(), "talaria-probe", 1 << 30);
  const bool possible = probe.limits_memory();
  AttemptCgroup::find(probe.folders(), "talaria-probe").remove();
  if (!possible) GTEST_SKIP() << "needs the right to make a memory control group";
  const ExitReport ended = run(hungry);
  EXPECT_THAT(ended.reason, HasSubstr("rank 1"));
  EXPECT_THAT(ended.reason, HasSubstr("ran out of memory"));
  EXPECT_TRUE(ended.first->out_of_memory);
  expect_nothing_left();
}

TEST_F(Launcher, SharedMemoryOfTheAttemptIsRemovedAndNoOther) {
  const AttemptSpec one = spec(1, {"exit=0"});
  const std::string scratch = attempt_scratch(one.attempt_id);
  const std::string other = scratch + "x";
  std::ofstream(other) << "another's";
  std::ofstream("/dev/shm/talaria-" + one.attempt_id + "-17-0") << "a segment";
  fs::create_directories(scratch + "/ompi.host/0");
  std::ofstream(scratch + "/ompi.host/0/segment") << "x";
  run(one);
  EXPECT_TRUE(fs::exists(other));
  fs::remove(other);
  expect_nothing_left();
}

TEST_F(Launcher, AFolderOfAnotherUserIsNotUsed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  const AttemptSpec one = spec(1, {"exit=0"});
  const std::string scratch = attempt_scratch(one.attempt_id);
  fs::create_directory(scratch);
  ASSERT_EQ(::chown(scratch.c_str(), 65534, 65534), 0);
  EXPECT_THAT(run(one).reason, HasSubstr("not a folder of this user"));
  EXPECT_EQ(starts(), 0);
}

// The disk fills up while the attempt runs: its end is told all the same.
TEST_F(Launcher, AFullDiskStillHasRoomForTheReport) {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "needs root, to mount";
  const fs::path run_directory = folder() / "run";
  fs::create_directory(run_directory);
  ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(::mount("tmpfs", run_directory.c_str(), "tmpfs", 0, "size=1m"), 0);
  const pid_t launcher = start(spec(2, {"say=ready", "wait"}));
  ASSERT_TRUE(eventually([&] { return is_running(2); }));
  {
    std::ofstream filler(run_directory / "filler");
    filler << std::string(2 << 20, 'x');
  }
  EXPECT_EQ(fs::space(run_directory).available, 0U);
  ASSERT_EQ(::kill(worker(1), SIGKILL), 0);
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_THAT(report().reason, HasSubstr("rank 1"));
  EXPECT_EQ(report().first->signal, SIGKILL);
  ::umount2(run_directory.c_str(), MNT_DETACH);
  expect_nothing_left();
}

TEST_F(Launcher, ASpecThatIsNoneIsWrongUsage) {
  AttemptSpec bad = spec(1, {"exit=0"});
  bad.attempt_id = "../../x";
  const int status = wait(start(bad));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2);
  EXPECT_THAT(read_proc_file((folder() / "output").string()),
              testing::AllOf(HasSubstr("attempt_id"), Not(HasSubstr("../x"))));
  EXPECT_FALSE(fs::exists(folder() / "run"));
}

}  // namespace
}  // namespace talaria::launch
