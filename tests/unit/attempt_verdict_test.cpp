// SPDX-License-Identifier: Apache-2.0
// From facts to outcome and reason; where control groups lie.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/attempt/cgroup.h"
#include "launch/attempt/verdict.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;

RankExit ended(int rank, int exit_code, int signal = 0, double when = 100.0) {
  RankExit exit;
  exit.rank = rank;
  exit.node = "node1";
  exit.exit_code = exit_code;
  exit.signal = signal;
  exit.ended = when;
  exit.phase = "step";
  exit.step = 17;
  return exit;
}

RankExit orphan(int rank) {
  RankExit exit = ended(rank, 0, SIGKILL);
  exit.orphaned = true;
  return exit;
}

int exited(int code) { return code << 8; }

Verdict verdict(std::vector<RankExit> exits, std::optional<int> status, std::string cause = "") {
  Facts facts;
  facts.ranks = 2;
  facts.before_kill = exits;
  facts.exits = std::move(exits);
  facts.command_status = status;
  facts.cause = std::move(cause);
  return judge(facts);
}

TEST(Verdict, AllRanksTellOfAGoodEnd) {
  EXPECT_EQ(verdict({ended(0, 0), ended(1, 0)}, exited(0)).outcome, Outcome::kDone);
  EXPECT_EQ(verdict({ended(0, 75), ended(1, 75)}, exited(0)).outcome, Outcome::kStopped);
  // Whatever became of mpirun or of the launcher after that.
  EXPECT_EQ(verdict({ended(0, 0), ended(1, 0)}, SIGKILL).outcome, Outcome::kDone);
  EXPECT_EQ(verdict({ended(0, 75), ended(1, 75)}, std::nullopt, "killed").outcome,
            Outcome::kStopped);
  EXPECT_EQ(verdict({ended(0, 75), ended(1, 0)}, exited(0)).outcome, Outcome::kFailed);
}

TEST(Verdict, TheRankThatEndedFirstIsNamed) {
  const Verdict first = verdict({ended(0, 1, 0, 101.0), ended(1, 0, SIGSEGV, 100.5)}, exited(1));
  EXPECT_EQ(first.outcome, Outcome::kFailed);
  EXPECT_EQ(first.reason, "rank 1 on node1 was killed by signal 11 (SIGSEGV) in step 18");
  ASSERT_TRUE(first.first.has_value());
  EXPECT_EQ(first.first->rank, 1);
  EXPECT_EQ(first.failed, 100.5);
  RankExit saving = ended(0, 0, SIGKILL);
  saving.phase = "save";
  saving.out_of_memory = true;
  EXPECT_EQ(describe(saving),
            "rank 0 on node1 was killed by signal 9 (SIGKILL): the kernel ran out of memory for it "
            "in phase save after step 17");
  saving.phase = "";
  saving.signal = 0;
  saving.exit_code = 1;
  saving.node = "a\nb";
  EXPECT_EQ(describe(saving), "rank 0 on a\\nb ended with exit code 1");
}

TEST(Verdict, ExitCode2IsAnInvalidJobWhoeverWasKilledForIt) {
  const Verdict invalid = verdict({ended(0, 0, SIGTERM, 99.0), ended(1, 2)}, exited(2));
  EXPECT_EQ(invalid.outcome, Outcome::kInvalid);
  EXPECT_EQ(invalid.first->rank, 1);
}

TEST(Verdict, OfRanksThatFailTogetherTheOneThatSaidWhyIsNamed) {
  Facts facts;
  facts.ranks = 3;
  facts.before_kill = {ended(0, 1, 0, 100.2), ended(1, 1, 0, 100.1), ended(2, 0, SIGKILL, 100.3)};
  facts.last_words = {{0, "2026-11-24T15:42:24.314Z mkdir x: Not a directory"}, {2, "else"}};
  const Verdict said = judge(facts);
  EXPECT_EQ(said.first->rank, 0);
  EXPECT_EQ(said.reason,
            "rank 0 on node1 ended with exit code 1 in step 18: mkdir x: Not a directory");
  EXPECT_EQ(said.failed, 100.1);
  facts.before_kill[0].ended = 105.0;  // later: because of the first
  EXPECT_EQ(judge(facts).first->rank, 1);
  EXPECT_EQ(without_time("2026-11-24T15:42:24.31"), "2026-11-24T15:42:24.31");
  EXPECT_EQ(without_time("error: x and much more text"), "error: x and much more text");
}

TEST(Verdict, ACauseOfTheLaunchersOwnCountsWhereNoRankFailedBefore) {
  EXPECT_EQ(verdict({}, std::nullopt, "mpirun was stopped").reason, "mpirun was stopped");
  EXPECT_THAT(verdict({ended(1, 1)}, std::nullopt, "mpirun was stopped").reason,
              HasSubstr("rank 1"));
  Facts facts;
  facts.ranks = 2;
  facts.cause = "mpirun was stopped";
  facts.exits = {ended(0, 0, SIGKILL)};  // came while the launcher killed
  EXPECT_EQ(judge(facts).reason, "mpirun was stopped");
}

TEST(Verdict, TheCommandIsToBlameWhenItWentFirst) {
  const Verdict killed = verdict({orphan(0), orphan(1)}, SIGKILL);
  EXPECT_EQ(killed.outcome, Outcome::kFailed);
  EXPECT_EQ(killed.reason, "mpirun was killed by signal 9 (SIGKILL)");
  EXPECT_FALSE(killed.first.has_value());
  EXPECT_EQ(verdict({ended(0, 0)}, exited(1)).reason,
            "mpirun ended with exit code 1, and 1 of 2 ranks left no word of their end");
  Facts facts;
  facts.ranks = 2;
  facts.command_status = exited(205);
  facts.command_lines = {"------", "ORTE has lost communication.", "more"};
  EXPECT_EQ(judge(facts).reason,
            "mpirun ended with exit code 205, and 2 of 2 ranks left no word of their end: ORTE has "
            "lost communication.");
  EXPECT_EQ(verdict({ended(0, 0)}, exited(0)).outcome, Outcome::kFailed);
  EXPECT_EQ(verdict({}, exited(0)).outcome, Outcome::kDone);
  EXPECT_EQ(verdict({}, exited(75)).outcome, Outcome::kStopped);
  EXPECT_EQ(verdict({}, exited(2)).outcome, Outcome::kFailed);
}

TEST(Verdict, LastLinesAreFewShortAndHarmless) {
  std::string log;
  for (int i = 0; i < 100; ++i) log += "line " + std::to_string(i) + "\n";
  log += "\x1b[31mred\x1b[0m\xff\r\n\n" + std::string(5000, 'x');
  const std::vector<std::string> lines = last_lines(log);
  ASSERT_EQ(lines.size(), 20U);
  EXPECT_EQ(lines[18], "\\x1b[31mred\\x1b[0m\\xff");
  EXPECT_EQ(lines[19].size(), 400U);
  EXPECT_TRUE(last_lines("").empty());
}

TEST(Cgroup, PlacesAreFoundInEveryKindOfMachine) {
  const std::string v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
  const std::string hybrid = v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  const std::string v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
  EXPECT_EQ(
      find_cgroups("4:memory:/a/b\n3:cpu:/\n0::/\n", hybrid),
      (std::vector<CgroupPlace>{{1, "/sys/fs/cgroup/memory/a/b"}, {2, "/sys/fs/cgroup/unified"}}));
  EXPECT_EQ(find_cgroups("0::/user.slice/u.service\n", v2),
            (std::vector<CgroupPlace>{{2, "/sys/fs/cgroup/user.slice/u.service"}}));
  EXPECT_EQ(find_cgroups("0::/docker/x/job\n",
                         "30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            (std::vector<CgroupPlace>{{2, "/sys/fs/cgroup/job"}}));
  EXPECT_TRUE(
      find_cgroups("0::/other\n", "30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
          .empty());
  EXPECT_TRUE(find_cgroups("0::/../x\n", v2).empty());
  EXPECT_TRUE(find_cgroups("nonsense\n:\n::\n", "- cgroup2\n - \n").empty());
  EXPECT_TRUE(find_cgroups("", "").empty());
}

}  // namespace
}  // namespace talaria::launch
