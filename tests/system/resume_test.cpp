// SPDX-License-Identifier: Apache-2.0
// Stopping, killing and damaging real runs: what continues has the bits of the undisturbed run,
// learning rate, dropout and validation included.
#include <csignal>
#include <fstream>
#include <random>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/crash_point.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kTimeout = 120;
constexpr std::int64_t kSteps = 60;

class Resume : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_resume_{}", ::getpid()),
                          kTinyModel);
    const ChildResult result = jobs_->run("undisturbed", layout(2, 1, 1), kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    ASSERT_EQ(jobs_->loss_bits("undisturbed").size(), static_cast<std::size_t>(kSteps));
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  static RunPlan layout(int tensor, int pipeline, int data, std::int64_t micro_batch = 1) {
    RunPlan plan;
    plan.layout = {tensor, pipeline, data};
    plan.micro_batch = micro_batch;
    plan.set = {"checkpoint.every=20", "checkpoint.keep=10"};
    return plan;
  }

  static void expect_undisturbed(const std::string& run) {
    for (const char* key :
         {"loss_bits", "learning_rate", "grad_norm", "validation_loss", "tokens"}) {
      EXPECT_EQ(jobs_->metric(run, key), jobs_->metric("undisturbed", key)) << key;
    }
    EXPECT_EQ(jobs_->weights_hash(run), jobs_->weights_hash("undisturbed"));
  }

  static const JobFolder& jobs() { return *jobs_; }

 private:
  static JobFolder* jobs_;
};

JobFolder* Resume::jobs_ = nullptr;

TEST_F(Resume, StoppedAtRandomStepsAndContinuedUnderAnotherLayoutEachTime) {
  const auto seed = static_cast<unsigned>(std::random_device()());
  std::mt19937 random(seed);
  RecordProperty("seed", static_cast<int>(seed));
  SCOPED_TRACE(fmt::format("seed {}", seed));
  fmt::print("seed {}\n", seed);
  const std::vector<RunPlan> layouts = {layout(1, 1, 1, 2), layout(2, 2, 1), layout(1, 1, 2),
                                        layout(2, 1, 2, 2), layout(1, 4, 1), layout(2, 2, 2)};
  std::vector<std::int64_t> stops;
  stops.reserve(5);
  for (int i = 0; i < 5; ++i) stops.push_back(3 + 11 * i + static_cast<std::int64_t>(random() % 8));
  std::size_t done = 0;
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    RunPlan plan = layouts[i];
    plan.set = {"checkpoint.every=0"};
    bool sent = false;
    const ChildResult result =
        jobs().run("stopped", plan, kTimeout, [&](pid_t pid, const std::string&) {
          if (sent || i >= stops.size()) return;
          const auto steps = jobs().loss_bits("stopped");
          if (steps.empty() || steps.rbegin()->first < stops[i]) return;
          ::kill(pid, SIGUSR1);
          sent = true;
        });
    const auto steps = jobs().loss_bits("stopped");
    ASSERT_FALSE(steps.empty()) << result.output;
    if (i < stops.size()) {
      ASSERT_EQ(result.exit_code, 75) << result.output;
      EXPECT_GE(steps.rbegin()->first, stops[i]);
      EXPECT_GT(steps.size(), done);
      EXPECT_LT(steps.rbegin()->first, kSteps);
      done = steps.size();
    } else {
      ASSERT_EQ(result.exit_code, 0) << result.output;
    }
  }
  expect_undisturbed("stopped");
}

TEST_F(Resume, AStormOfSignalsInsideTheProductsStopsTheRunWhole) {
  // One process, so that the signals reach the rank itself, thousands of them in its first steps.
  std::vector<std::string> argv = {std::string(TALARIA_BIN_DIR) + "/talaria-worker", "--job",
                                   (jobs().path() / "job.toml").string(), "--run-dir",
                                   (jobs().path() / "storm").string()};
  for (const char* set : {"job.numerics=\"invariant\"", "job.virtual_shards=4",
                          "job.sample_groups=2", "train.micro_batch=1"}) {
    argv.emplace_back("--set");
    argv.emplace_back(set);
  }
  const ChildResult result = run_child(argv, kTimeout, [](pid_t pid, const std::string& output) {
    if (output.find("backend") == std::string::npos) return;
    for (int i = 0; i < 2000; ++i) ::kill(pid, SIGUSR1);
  });
  ASSERT_EQ(result.exit_code, 75) << result.output;
  RunPlan rest = layout(2, 1, 1);
  rest.set.clear();
  const ChildResult continued = jobs().run("storm", rest, kTimeout);
  ASSERT_EQ(continued.exit_code, 0) << continued.output;
  EXPECT_EQ(jobs().weights_hash("storm"), jobs().weights_hash("undisturbed"));
}

TEST_F(Resume, ARankKilledInMidSaveLeavesTheOlderCheckpoint) {
  int number = 0;
  for (const std::string_view point : storage::crash_point_names()) {
    SCOPED_TRACE(point);
    const std::string run = fmt::format("killed-{}", ++number);
    // The second checkpoint; points in a shard are those of the last rank.
    const bool in_shard = point.starts_with("shard.");
    RunPlan plan = layout(1, 2, 1);
    // Pruning happens where the second checkpoint is one too many.
    const bool in_prune = point == "prune.renamed";
    if (in_prune) plan.set[1] = "checkpoint.keep=1";
    plan.args = {"--crash-point",
                 fmt::format("{}:{}:{}", point, in_prune ? 1 : 2, in_shard ? 1 : 0)};
    const ChildResult killed = jobs().run(run, plan, kTimeout);
    ASSERT_NE(killed.output.find("signal 9"), std::string::npos)
        << "the point was not reached: " << killed.output;
    EXPECT_NE(killed.exit_code, 0);
    // Past the rename the second checkpoint is whole.
    const bool committed = point == "after_rename" || point == "before_prune" || in_prune;
    EXPECT_EQ(jobs().checkpoints(run).size(), committed && !in_prune ? 2U : 1U);
    const ChildResult listed =
        jobs().tool({"checkpoint", "verify", (jobs().path() / run / "checkpoints").string()});
    EXPECT_EQ(listed.exit_code, 0) << listed.output;

    const ChildResult continued = jobs().run(run, layout(2, 1, 1), kTimeout);
    ASSERT_EQ(continued.exit_code, 0) << continued.output;
    EXPECT_NE(continued.output.find(committed ? "step-00000040" : "step-00000020"),
              std::string::npos)
        << continued.output;
    expect_undisturbed(run);
    for (const auto& entry : fs::directory_iterator(jobs().path() / run / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      EXPECT_TRUE(name.starts_with("step-") || name == "fence") << entry.path();
    }
  }
  EXPECT_GE(number, 9);
}

TEST_F(Resume, AnArmedPointThatIsNotReachedFailsTheRun) {
  RunPlan plan = layout(1, 1, 1);
  plan.args = {"--crash-point", "index.written:99"};
  const ChildResult result = jobs().run("unreached", plan, kTimeout);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.output.find("index.written"), std::string::npos) << result.output;
}

TEST_F(Resume, ADamagedCheckpointFallsBackOneGenerationAndSaysSo) {
  RunPlan plan = layout(1, 1, 2);
  const ChildResult first = jobs().run("damaged", plan, kTimeout);
  ASSERT_EQ(first.exit_code, 0) << first.output;
  ASSERT_EQ(jobs().checkpoints("damaged").size(), 3U);
  const fs::path shard = jobs().checkpoints("damaged").back() / "shard-00001-of-00002.h5";
  {
    std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(fs::file_size(shard) / 2));
    const char byte = static_cast<char>(file.peek() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(fs::file_size(shard) / 2));
    file.write(&byte, 1);
  }
  const ChildResult result = jobs().run("damaged", layout(2, 1, 1), kTimeout);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("shard-00001-of-00002.h5"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("continuing from"), std::string::npos);
  EXPECT_NE(read_file(jobs().path() / "damaged" / "events.jsonl").find("\"fallback\""),
            std::string::npos);
  expect_undisturbed("damaged");
}

TEST_F(Resume, ACompleteRunSaysSoAndMoreStepsContinueIt) {
  RunPlan plan = layout(1, 1, 1);
  plan.set.emplace_back("train.steps=30");
  plan.set.emplace_back("optimizer.decay_steps=60");
  ASSERT_EQ(jobs().run("complete", plan, kTimeout).exit_code, 0);
  const ChildResult again = jobs().run("complete", plan, kTimeout);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_NE(again.output.find("complete"), std::string::npos) << again.output;
  EXPECT_EQ(jobs().loss_bits("complete").size(), 30U);
  plan.set[2] = "train.steps=60";
  plan.set[3] = "optimizer.decay_steps=60";
  ASSERT_EQ(jobs().run("complete", plan, kTimeout).exit_code, 0);
  EXPECT_EQ(jobs().weights_hash("complete"), jobs().weights_hash("undisturbed"));
}

TEST_F(Resume, ThreeStepsInARowThatAreNotFiniteEndTheRun) {
  RunPlan plan;
  plan.layout = {1, 1, 2};
  plan.set = {"train.steps=20", "optimizer.learning_rate=1000", "optimizer.weight_decay=1000"};
  const ChildResult result = jobs().run("nonfinite", plan, kTimeout);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr(": update skipped, not finite on rank "),
                    HasSubstr(" was not finite 3 steps in a row, first seen on rank "),
                    HasSubstr("; updates with such numbers were left out. Lower "
                              "optimizer.learning_rate or look at the data, then continue from the "
                              "last checkpoint")));
  EXPECT_LT(jobs().loss_bits("nonfinite").size(), 20U);
}

TEST_F(Resume, AFullDiskFailsTheSaveNamesTheRemedyAndLeavesTheOlderCheckpoints) {
  const fs::path mount = jobs().path() / "small";
  fs::create_directories(mount);
  // Room for one checkpoint, not for two.
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(jobs().checkpoints("undisturbed").back())) {
    bytes += entry.file_size();
  }
  const ChildResult mounted =
      run_child({"mount", "-t", "tmpfs", "-o", fmt::format("size={}k", bytes * 17 / 10 / 1024),
                 "talaria-test", mount.string()},
                10);
  ASSERT_EQ(mounted.exit_code, 0) << "this test mounts a tmpfs and needs root: " << mounted.output;
  RunPlan plan = layout(1, 1, 2);
  const ChildResult full = jobs().run("small/run", plan, kTimeout);
  EXPECT_EQ(full.exit_code, 1) << full.output;
  EXPECT_NE(full.output.find("free"), std::string::npos) << full.output;
  const std::vector<fs::path> kept = jobs().checkpoints("small/run");
  EXPECT_GE(kept.size(), 1U);
  EXPECT_EQ(jobs().tool({"checkpoint", "verify", (mount / "run/checkpoints").string()}).exit_code,
            0);
  const ChildResult grown = run_child({"mount", "-o", "remount,size=64m", mount.string()}, 10);
  EXPECT_EQ(grown.exit_code, 0) << grown.output;
  const ChildResult continued = jobs().run("small/run", layout(2, 1, 1), kTimeout);
  EXPECT_EQ(continued.exit_code, 0) << continued.output;
  expect_undisturbed("small/run");
  run_child({"umount", mount.string()}, 10);
}

}  // namespace
}  // namespace talaria::worker
