// SPDX-License-Identifier: Apache-2.0
// A job over two nodes, which are network namespaces: the bits of one node; and what happens when
// the cable of one is pulled.
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/subprocess.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

const std::string kScript = std::string(TALARIA_SOURCE_DIR) + "/tests/support/two_nodes";
constexpr double kTimeout = 200;

class TwoNodes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_nodes_{}", ::getpid()),
                          kTinyModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces take root";
    const Captured up = nodes({"up"});
    ASSERT_EQ(up.exit_code, 0) << up.err;
  }
  void TearDown() override {
    if (::geteuid() != 0) return;
    const Captured down = nodes({"down"});
    EXPECT_EQ(down.exit_code, 0) << down.err;
    EXPECT_EQ(run_captured({"ip", "netns", "list"}, 10).out.find(fmt::format("-{}-", suffix())),
              std::string::npos);
  }

  static std::string suffix() { return fmt::format("t{}", ::getpid()); }
  static Captured nodes(std::vector<std::string> args) {
    args.insert(args.begin(), {kScript, suffix()});
    return run_captured(args, 30);
  }
  // Processes on both nodes.
  static std::string processes() { return nodes({"pids", "n1"}).out + nodes({"pids", "n2"}).out; }

  // 8 ranks, 2 x 2 x 2, over both nodes or on this machine.
  static RunPlan plan(const std::string& steps) {
    RunPlan plan;
    plan.layout = {2, 2, 2};
    plan.set = {"train.steps=" + steps, "optimizer.decay_steps=60"};
    return plan;
  }
  static ChildResult run_on_nodes(
      const std::string& run, const std::string& steps,
      const std::function<void(pid_t, const std::string&)>& watch = nullptr) {
    RunPlan over_nodes = plan(steps);
    over_nodes.prefix = {kScript, suffix(), "on", "hub"};
    over_nodes.mpirun_args = {"--display-map",
                              "--host",
                              "n1:4,n2:4",
                              "--mca",
                              "plm_rsh_agent",
                              fmt::format("{} {} agent", kScript, suffix()),
                              "--mca",
                              "oob_tcp_keepalive_time",
                              "3",
                              "--mca",
                              "oob_tcp_keepalive_intvl",
                              "2",
                              "--mca",
                              "oob_tcp_keepalive_probes",
                              "3"};
    return jobs_->run(run, over_nodes, kTimeout, watch);
  }

  static JobFolder* jobs_;
};

JobFolder* TwoNodes::jobs_ = nullptr;

TEST_F(TwoNodes, GiveTheBitsOfOne) {
  const ChildResult two = run_on_nodes("two", "20");
  ASSERT_EQ(two.exit_code, 0) << two.output;
  EXPECT_THAT(two.output, testing::ContainsRegex("node: n1.*Num procs: 4"));
  EXPECT_THAT(two.output, testing::ContainsRegex("node: n2.*Num procs: 4"));
  const ChildResult one = jobs_->run("one", plan("20"), kTimeout);
  ASSERT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(jobs_->loss_bits("two"), jobs_->loss_bits("one"));
  EXPECT_EQ(jobs_->loss_bits("two").size(), 20U);
  EXPECT_EQ(jobs_->weights_hash("two"), jobs_->weights_hash("one"));
  EXPECT_EQ(processes(), "");
}

TEST_F(TwoNodes, ACutLinkEndsTheJobOnBothSides) {
  double cut = 0.0;
  const ChildResult job = run_on_nodes("cut", "100000", [&](pid_t, const std::string&) {
    if (cut > 0.0 || jobs_->loss_bits("cut").size() < 3) return;
    EXPECT_EQ(nodes({"cut", "n2"}).exit_code, 0);
    cut = monotonic_seconds();
  });
  EXPECT_LT(monotonic_seconds() - cut, 20.0);
  ASSERT_GT(cut, 0.0) << job.output;
  EXPECT_NE(job.exit_code, 0);
  EXPECT_FALSE(job.timed_out);
  EXPECT_THAT(job.output, testing::HasSubstr("lost communication with a remote daemon"));
  // The node that is cut off notices by itself.
  const double deadline = monotonic_seconds() + 20;
  while (!processes().empty() && monotonic_seconds() < deadline) ::usleep(200'000);
  EXPECT_EQ(processes(), "");
}

TEST_F(TwoNodes, AShortCutIsSurvived) {
  double cut = 0.0;
  bool healed = false;
  const ChildResult job = run_on_nodes("short", "60", [&](pid_t, const std::string&) {
    if (cut == 0.0 && jobs_->loss_bits("short").size() >= 3) {
      EXPECT_EQ(nodes({"cut", "n1"}).exit_code, 0);
      cut = monotonic_seconds();
    } else if (cut > 0.0 && !healed && monotonic_seconds() > cut + 3.0) {
      EXPECT_LT(jobs_->loss_bits("short").size(), 60U) << "ranks go on without the cable";
      EXPECT_EQ(nodes({"heal", "n1"}).exit_code, 0);
      healed = true;
    }
  });
  EXPECT_TRUE(healed);
  EXPECT_EQ(job.exit_code, 0) << job.output;
  EXPECT_EQ(jobs_->loss_bits("short").size(), 60U);
}

TEST(TwoNodesScript, RefusesWhatItDoesNotKnow) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{},
                                               {"-x"},
                                               {"../x", "up"},
                                               {"$(id)", "up"},
                                               {"ok"},
                                               {"ok", "boot"},
                                               {"ok", "cut", "hub"},
                                               {"ok", "cut", "n3"},
                                               {"ok", "on", "n1", "true"}}) {
    std::vector<std::string> argv = {kScript};
    argv.insert(argv.end(), args.begin(), args.end());
    const Captured said = run_captured(argv, 10);
    EXPECT_EQ(said.exit_code, 2) << said.out;
    EXPECT_NE(said.err.find("two_nodes: "), std::string::npos) << said.err;
  }
}

}  // namespace
}  // namespace talaria::worker
