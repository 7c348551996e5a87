// SPDX-License-Identifier: Apache-2.0
// What a user does wrong is said in one line, once, before anything starts; exit code 2, or 1 for
// files that are damaged.
#include <csignal>
#include <fstream>
#include <sstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr double kTimeout = 60;

class BadInput : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_bad_{}", ::getpid()),
                          kTinyModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  void SetUp() override { fs::remove_all(jobs_->path() / "run"); }

  static RunPlan two_ranks(const std::string& set) {
    RunPlan plan;
    plan.layout = {2, 1, 1};
    if (!set.empty()) plan.set = {set};
    return plan;
  }

  // Two ranks print the complaint once, end with `code`, and leave no checkpoint and no step.
  static void expect_refused(const RunPlan& plan, int code, const std::vector<std::string>& parts) {
    const ChildResult result = jobs_->run("run", plan, kTimeout);
    EXPECT_EQ(result.exit_code, code) << result.output;
    EXPECT_FALSE(result.timed_out);
    for (const std::string& part : parts) {
      EXPECT_NE(result.output.find(part), std::string::npos) << part << " is not in\n"
                                                             << result.output;
    }
    std::istringstream lines(result.output);
    int complaints = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.find(parts.front()) != std::string::npos) ++complaints;
    }
    EXPECT_EQ(complaints, 1) << result.output;
    EXPECT_TRUE(jobs_->loss_bits("run").empty());
    EXPECT_TRUE(jobs_->checkpoints("run").empty());
  }

  static const JobFolder& jobs() { return *jobs_; }
  static fs::path token_file() { return jobs_->path() / "data/headers.tok"; }

 private:
  static JobFolder* jobs_;
};

JobFolder* BadInput::jobs_ = nullptr;

TEST_F(BadInput, JobFileComplaintsNameKeyAndWhatIsAllowed) {
  expect_refused(two_ranks("train.stepz=5"), 2, {"train.stepz", "steps"});
  expect_refused(two_ranks("train.steps=\"many\""), 2, {"train.steps"});
  expect_refused(two_ranks("train.steps=-3"), 2, {"train.steps", "-3"});
  expect_refused(two_ranks("train.steps=99999999999999999999"), 2, {"train.steps"});
  expect_refused(two_ranks("optimizer.learning_rate=nan"), 2, {"optimizer.learning_rate"});
  expect_refused(two_ranks("optimizer.learning_rate=inf"), 2, {"optimizer.learning_rate"});
}

TEST_F(BadInput, LinesOfTheFileAreNamed) {
  const fs::path broken = jobs().path() / "broken.toml";
  std::ofstream(broken) << read_file(jobs().path() / "job.toml") << "\n[checkpoint]\nevry = 3\n";
  RunPlan plan = two_ranks("");
  plan.args = {"--job", broken.string()};
  const ChildResult result =
      run_child({"mpirun", "-n", "2", "--oversubscribe",
                 std::string(TALARIA_BIN_DIR) + "/talaria-worker", "--job", broken.string()},
                kTimeout);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("broken.toml:"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("checkpoint.evry"), std::string::npos) << result.output;
}

TEST_F(BadInput, LayoutsThatDoNotFitAreRefused) {
  RunPlan three = two_ranks("");
  three.layout = {3, 1, 1};
  expect_refused(three, 2, {"tensor"});
  RunPlan mismatch = two_ranks("parallel.data=2");
  expect_refused(mismatch, 2, {"mpirun -n 4"});
}

TEST_F(BadInput, MissingAndEmptyTextIsRefused) {
  expect_refused(two_ranks("data.sources=[{path=\"/no/such.tok\", weight=1.0}]"), 2,
                 {"/no/such.tok"});
  const ChildResult missing =
      jobs().tool({"data", "prepare", "--out", (jobs().path() / "x").string(), "/no/such.txt"});
  EXPECT_EQ(missing.exit_code, 2) << missing.output;
  EXPECT_NE(missing.output.find("/no/such.txt"), std::string::npos) << missing.output;
  const fs::path empty = jobs().path() / "empty.txt";
  std::ofstream(empty).flush();
  const ChildResult nothing =
      jobs().tool({"data", "prepare", "--out", (jobs().path() / "x").string(), empty.string()});
  EXPECT_EQ(nothing.exit_code, 2) << nothing.output;
  EXPECT_NE(nothing.output.find("empty.txt"), std::string::npos) << nothing.output;
}

TEST_F(BadInput, ATruncatedTokenFileNamesFileAndOffset) {
  const std::string whole = read_file(token_file());
  fs::resize_file(token_file(), whole.size() - 1001);
  const ChildResult result = jobs().run("run", two_ranks(""), kTimeout);
  EXPECT_TRUE(result.exit_code == 1 || result.exit_code == 2) << result.output;
  EXPECT_NE(result.output.find("headers.tok"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("byte"), std::string::npos) << result.output;
  EXPECT_TRUE(jobs().loss_bits("run").empty());
  write_file_atomic(token_file(), whole);
}

TEST_F(BadInput, AnIdOutsideTheVocabularyIsRefused) {
  expect_refused(two_ranks("model.vocab=300"), 2, {"headers.tok", "300"});
}

TEST_F(BadInput, DataThatChangedSinceTheStartIsRefused) {
  RunPlan plan = two_ranks("train.steps=10");
  plan.set.emplace_back("optimizer.decay_steps=60");
  ASSERT_EQ(jobs().run("run", plan, kTimeout).exit_code, 0);
  const std::string headers = read_file(token_file());
  const fs::path sources = jobs().path() / "data/sources.tok";
  write_file_atomic(token_file(), read_file(sources));
  plan.set[0] = "train.steps=20";
  const ChildResult result = jobs().run("run", plan, kTimeout);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("data"), std::string::npos) << result.output;
  write_file_atomic(token_file(), headers);
}

TEST_F(BadInput, AContinuedRunMayNotChangeTheModel) {
  RunPlan plan = two_ranks("train.steps=10");
  ASSERT_EQ(jobs().run("run", plan, kTimeout).exit_code, 0);
  plan.set = {"train.steps=20", "model.layers=5"};
  const ChildResult result = jobs().run("run", plan, kTimeout);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("model.layers"), std::string::npos) << result.output;
}

TEST_F(BadInput, TwoRunsOnOneDirectoryTheSecondNamesTheFirst) {
  ChildResult second;
  RunPlan plan = two_ranks("train.steps=100000");
  const ChildResult first = jobs().run("run", plan, kTimeout, [&](pid_t pid, const std::string&) {
    if (!second.output.empty() || jobs().loss_bits("run").empty()) return;
    second = jobs().run("run", plan, kTimeout);
    ::kill(pid, SIGUSR1);
  });
  EXPECT_EQ(first.exit_code, 75) << first.output;
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_NE(second.output.find("in use by pid"), std::string::npos) << second.output;
}

TEST_F(BadInput, WrongArgumentsAreExplained) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"trian"},
                                               {"generate"},
                                               {"summary", "--run-dir", "/no/such"},
                                               {"checkpoint", "show", "/no/such"},
                                               {"--jobb", "x"},
                                               {"data", "prepare"}}) {
    const ChildResult result = jobs().tool(args);
    EXPECT_EQ(result.exit_code, 2) << args[0] << ": " << result.output;
    EXPECT_FALSE(result.output.empty());
  }
}

}  // namespace
}  // namespace talaria::worker
