// SPDX-License-Identifier: Apache-2.0
// The launcher itself is killed, at each of its steps and in the middle of a run; the next one goes
// on. And two at once.
#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/attempt/launcher.h"
#include "launch/attempt/proc.h"
#include "tests/system/launcher_support.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using LauncherCrash = LauncherTest;

std::string test_name(const testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

class LauncherCrashPoint : public LauncherTest,
                           public testing::WithParamInterface<std::string_view> {
 protected:
  // Where the point lies: below 0 before, 0 at, above 0 after another.
  static std::ptrdiff_t against(std::string_view other) {
    const auto& names = launcher_crash_points();
    return std::find(names.begin(), names.end(), GetParam()) -
           std::find(names.begin(), names.end(), other);
  }

  // Kills a launcher at the point, starts another, and a third.
  ExitReport kill_and_go_on(const AttemptSpec& spec, bool ask_for_the_end) {
    const pid_t killed = start(spec, fmt::format("{}:1", GetParam()));
    if (ask_for_the_end) {
      EXPECT_TRUE(eventually([&] { return is_running(2); }));
      ::kill(killed, SIGQUIT);
    }
    const int status = wait(killed);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "the point was not reached: " << status;
    ExitReport ended = run(spec);
    expect_nothing_left();
    const std::string before = text("exit.json");
    run(spec);
    EXPECT_EQ(text("exit.json"), before);
    EXPECT_LE(starts(), 1);
    return ended;
  }
};

TEST_P(LauncherCrashPoint, TheNextLauncherGoesOnWithRanksThatEnd) {
  const ExitReport ended = kill_and_go_on(spec(2, {"escape=marked", "say=ready", "exit=0"}), false);
  if (against("launch.started_written") == 0) {
    EXPECT_EQ(starts(), 0);
    EXPECT_EQ(ended.reason, "the launcher of the attempt was killed");
  } else if (against("launch.command_started") != 0) {
    EXPECT_EQ(starts(), 1);
    EXPECT_EQ(ended.outcome, Outcome::kDone) << ended.reason;
  }
}

TEST_P(LauncherCrashPoint, TheNextLauncherEndsRanksThatStay) {
  if (against("launch.started_written") < 0) return;  // the next one starts them
  const ExitReport ended = kill_and_go_on(spec(2, {"escape=marked", "say=ready", "wait"}),
                                          against("launch.command_started") > 0);
  EXPECT_EQ(ended.outcome, Outcome::kFailed) << ended.reason;
}

INSTANTIATE_TEST_SUITE_P(Launcher, LauncherCrashPoint, testing::ValuesIn(launcher_crash_points()),
                         test_name);

// As root with control groups, as another user without.
TEST_F(LauncherCrash, KilledInMidRunNothingOutlivesTheNext) {
  for (const uid_t uid : {::geteuid(), uid_t{65534}}) {
    if (::geteuid() != 0 && uid == 65534) continue;
    SCOPED_TRACE(uid);
    fs::remove_all(folder() / "run");
    fs::remove(folder() / "starts");
    fs::remove(folder() / "escaped");
    const AttemptSpec running = spec(3, {"escape=marked", "say=ready", "wait"});
    const pid_t launcher = start(running, "", uid);
    ASSERT_TRUE(eventually([&] { return is_running(3); }));
    ::kill(launcher, SIGKILL);
    wait(launcher);
    // Its ranks die with it, before anybody comes to look; a daemon does not.
    EXPECT_TRUE(eventually([&] { return worker(0) + worker(1) + worker(2) == 0; }, 2.0));
    EXPECT_FALSE(find_attempt_processes(running.attempt_id).empty());
    EXPECT_EQ(wait(start(running, "", uid)), 0);
    EXPECT_EQ(report().reason, "the launcher of the attempt was killed");
    EXPECT_EQ(starts(), 1);
    expect_nothing_left();
  }
}

TEST_F(LauncherCrash, KilledAfterTheRanksWereDoneTheyAreDone) {
  const AttemptSpec running = spec(2, {"exit=75"});
  const pid_t launcher = start(running, "launch.ended:1");
  wait(launcher);
  EXPECT_EQ(run(running).outcome, Outcome::kStopped);
}

TEST_F(LauncherCrash, ACrashPointOfAnotherProgramMeansNothing) {
  const pid_t launcher = start(spec(1, {"exit=0"}), "step.begin:3");
  EXPECT_EQ(wait(launcher), 0);
  EXPECT_EQ(report().outcome, Outcome::kDone);
}

TEST_F(LauncherCrash, ASecondLauncherIsRefusedNamingTheFirst) {
  const pid_t first = start(spec(1, {"say=ready", "until_stop"}));
  ASSERT_TRUE(eventually([&] { return is_running(1); }));
  AttemptSpec other = spec(1, {"exit=0"});
  other.attempt_id += "-b";
  other.attempt = 2;
  const int status = wait(start(other));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == kExitHeld);
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  EXPECT_THAT(read_proc_file((folder() / "output").string()),
              HasSubstr(fmt::format("in use by pid {} on {}, attempt {}", first, host,
                                    spec(1, {}).attempt_id)));
  EXPECT_FALSE(fs::exists(folder() / "run/attempt-002"));
  ::kill(first, SIGTERM);
  EXPECT_EQ(wait(first), 0);
  EXPECT_EQ(report().outcome, Outcome::kStopped);
}

}  // namespace
}  // namespace talaria::launch
