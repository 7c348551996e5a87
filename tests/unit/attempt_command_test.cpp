// SPDX-License-Identifier: Apache-2.0
// The command of the ranks, and words quoted for a shell.
#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/attempt/command_line.h"
#include "tests/support/child_process.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(word).append(" ");
  return text;
}

CommandLine command(const std::vector<std::string>& hosts, const std::string& agent = "") {
  Job job;
  job.cluster.ranks = 8;
  job.cluster.hosts = hosts;
  job.cluster.launch_agent = agent;
  return mpirun_command(job, {"mpirun", "/bin/talaria-worker", "/bin/talaria-launch"}, "/r u/n", 3,
                        "j1-a003", "/dev/shm/talaria-j1-a003");
}

TEST(CommandLine, OneNode) {
  const std::string text = joined(command({}).argv);
  EXPECT_TRUE(text.starts_with("mpirun -n 8 --bind-to none --oversubscribe ")) << text;
  EXPECT_THAT(text, HasSubstr("--mca orte_tmpdir_base /dev/shm/talaria-j1-a003 "));
  EXPECT_THAT(text, HasSubstr("--mca btl_vader_backing_directory /dev/shm/talaria-j1-a003 "));
  EXPECT_TRUE(text.ends_with(
      "/bin/talaria-launch rank --attempt-dir /r u/n/attempt-003 -- /bin/talaria-worker --job "
      "/r u/n/attempt-003/job.toml --run-dir /r u/n --attempt 3 --attempt-id j1-a003 "
      "--attempt-dir /r u/n/attempt-003 --progress none "))
      << text;
  EXPECT_THAT(text, testing::Not(HasSubstr("--host")));
}

TEST(CommandLine, SeveralHosts) {
  const std::string text = joined(command({"node1:4", "10.0.0.2:4"}, "/opt/agent -q").argv);
  EXPECT_THAT(text, HasSubstr("--host node1:4,10.0.0.2:4 "));
  EXPECT_THAT(joined(command({"a", "b", "c"}).argv), HasSubstr("--host a:3,b:3,c:2 "));
  EXPECT_THAT(text, HasSubstr("-x TALARIA_ATTEMPT_ID "));
  EXPECT_THAT(text, HasSubstr("--mca plm_rsh_agent /opt/agent -q "));
  EXPECT_THAT(text, HasSubstr("--mca oob_tcp_keepalive_time 3 "));
  EXPECT_THAT(text, testing::Not(HasSubstr("--oversubscribe")));
  Job job;
  EXPECT_EQ(node_count(job), 1);
  job.cluster.hosts = {"a:4", "b", "a:2"};
  EXPECT_EQ(node_count(job), 2);
}

TEST(CommandLine, AHostIsNeitherAnOptionNorTwoHosts) {
  for (const char* host : {"", "-x", "a,b", "a b", "$(id)", "a\nb", "::1", "a;b", "\x1b[31m"}) {
    SCOPED_TRACE(host);
    EXPECT_THROW(command({host}), UsageError);
  }
}

TEST(ShellQuote, PlainWordsStayPlain) {
  EXPECT_EQ(shell_quote("/a/b-c_d.e:4,f@g%+"), "/a/b-c_d.e:4,f@g%+");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote("A=b"), "'A=b'");
}

// Random words, many a shell, come back as they went in.
TEST(ShellQuote, AnyBytesSurviveAShell) {
  std::mt19937 random(11);
  const std::string nasty = "$`\\\"'!*?[]{}()<>|&;~#\n\t\r -=\x1b\x7f\xff\xc3\xa9 a1";
  for (const char* shell : {"bash", "sh"}) {
    for (int round = 0; round < 20; ++round) {
      std::string script = "printf '%s\\001'";
      std::string wanted;
      for (int word = 0; word < 50; ++word) {
        std::string text;
        for (unsigned length = random() % 30; length > 0; --length) {
          text += random() % 2 == 0 ? nasty[random() % nasty.size()]
                                    : static_cast<char>(2 + random() % 254);
        }
        script.append(" ").append(shell_quote(text));
        wanted += text + "\x01";
      }
      const ChildResult result = run_child({shell, "-c", script}, 20);
      ASSERT_EQ(result.exit_code, 0) << result.output;
      ASSERT_EQ(result.output, wanted);
    }
  }
}

TEST(Scratch, IsNamedByTheAttempt) {
  EXPECT_TRUE(attempt_scratch("j1-a003").ends_with("/talaria-j1-a003"));
}

}  // namespace
}  // namespace talaria::launch
