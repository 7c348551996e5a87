// SPDX-License-Identifier: Apache-2.0
// The graph of job stages over the real coordinator and real ranks: gates, what is done already,
// what is told of it, and weights that are no longer those that a stage began with.
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/run_job.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Graph : public testing::Test {
 protected:
  Graph()
      : folder_(fs::temp_directory_path() / fmt::format("talaria_graph_{}", ::getpid())),
        jobs_(folder_, worker::kTinyModel) {}
  ~Graph() override { fs::remove_all(folder_); }

  // Two stages of 3 steps; `base` and `more` are further lines of their entries.
  void write_job(const std::string& base, const std::string& more) const {
    std::ofstream(folder_ / "graph.toml")
        << read_file(folder_ / "job.toml") << "\n[[stage]]\nname = \"base\"\n"
        << base << "\n[[stage]]\nname = \"more\"\nstart.weights = \"stage:base\"\n"
        << more << "\n";
  }
  ChildResult talaria(const std::vector<std::string>& args) const {
    std::vector<std::string> all = {"env",
                                    "-C",
                                    folder_.string(),
                                    "HOME=" + folder_.string(),
                                    "XDG_STATE_HOME=" + (folder_ / "state").string(),
                                    "TALARIA_STATE_DIR=" + (folder_ / "daemon").string(),
                                    std::string(TALARIA_BIN_DIR) + "/talaria"};
    all.insert(all.end(), args.begin(), args.end());
    return run_child(all, 60.0);
  }
  ChildResult run() const {
    return talaria({"run", "graph.toml", "--run-dir", "runs/g", "--set", "train.steps=3"});
  }
  fs::path path(const std::string& name) const { return folder_ / name; }

  fs::path folder_;
  worker::JobFolder jobs_;
};

TEST_F(Graph, AGateThatDoesNotHoldEndsTheJobAndIsJudgedAgain) {
  write_job("", "gate = [\"base.loss < 100\", \"base.validation_loss <= 0.5\"]");
  const ChildResult shut = run();
  EXPECT_EQ(shut.exit_code, 1) << shut.output;
  EXPECT_THAT(shut.output,
              AllOf(HasSubstr("base: done; step 3, loss "),
                    HasSubstr("more: failed: gate base.validation_loss <= 0.5 does not hold: "),
                    HasSubstr("(runs/g/base/artifact.json); train base longer"),
                    HasSubstr("stage more failed: gate"), Not(HasSubstr("restart"))));
  EXPECT_FALSE(fs::exists(path("runs/g/more"))) << "nothing of the stage was started";
  const ChildResult show = talaria({"show", "runs/g"});
  EXPECT_THAT(show.output, AllOf(HasSubstr("gate            base.loss < 100, holds: "),
                                 HasSubstr("base.validation_loss <= 0.5, does not hold: ")));

  // The same once more, then with a gate that holds.
  const ChildResult again = run();
  EXPECT_EQ(again.exit_code, 1) << again.output;
  EXPECT_THAT(again.output, AllOf(HasSubstr("base: done already; step 3, loss "),
                                  HasSubstr("gate base.validation_loss <= 0.5 does not hold: ")));
  write_job("", "gate = \"base.validation_loss <= 50\"");
  const ChildResult open = run();
  EXPECT_EQ(open.exit_code, 0) << open.output;
  EXPECT_THAT(open.output,
              AllOf(HasSubstr("base: done already"), HasSubstr("more: done; step 3, loss ")));

  // A number that the run did not hand on.
  fs::remove_all(path("runs/g/more"));
  std::string artifact = read_file(path("runs/g/base/artifact.json"));
  const std::size_t at = artifact.find("\"validation_loss\"");
  ASSERT_NE(at, std::string::npos) << artifact;
  artifact.replace(at, 17, "\"validation_last\"");
  write_file_atomic(path("runs/g/base/artifact.json"), artifact);
  const ChildResult none = run();
  EXPECT_EQ(none.exit_code, 1) << none.output;
  EXPECT_THAT(none.output, HasSubstr("gate base.validation_loss <= 50 cannot be judged: stage base "
                                     "handed on no validation_loss"));
  write_file_atomic(path("runs/g/base/artifact.json"), "{");
  const ChildResult mended = run();
  EXPECT_EQ(mended.exit_code, 0) << "a complete run writes it anew: " << mended.output;
}

TEST_F(Graph, WhatIsDoneIsNotDoneAgainAndIsToldWithItsLineage) {
  write_job("", "");
  const ChildResult first = run();
  ASSERT_EQ(first.exit_code, 0) << first.output;
  const std::string weights = jobs_.weights_hash("runs/g/more");
  const ChildResult second = run();
  EXPECT_EQ(second.exit_code, 0) << second.output;
  EXPECT_THAT(second.output,
              AllOf(HasSubstr("base: done already"), HasSubstr("more: done already")));
  EXPECT_EQ(jobs_.weights_hash("runs/g/more"), weights);

  const std::string base = jobs_.weights_hash("runs/g/base");
  const ChildResult text = talaria({"show", "runs/g"});
  EXPECT_THAT(
      text.output,
      AllOf(HasSubstr(fmt::format("hands on        checkpoints/step-00000003 (weights {})", base)),
            HasSubstr(fmt::format("start.weights   stage base, step 3 (weights {})", base)),
            HasSubstr("made from       data ")));
  const ChildResult shown = talaria({"show", "runs/g", "--json"});
  const json::value more = json::parse(shown.output).at("stages").at(1);
  EXPECT_EQ(more.at("artifact").at("weights_hash").as_string(), weights);
  const json::value& origin = more.at("artifact").at("lineage").at("start").at(0);
  EXPECT_EQ(origin.at("stage").as_string(), "base");
  EXPECT_EQ(origin.at("weights_hash").as_string(), base);
  EXPECT_TRUE(more.at("artifact").at("metrics").at("loss").is_double());
}

TEST_F(Graph, WeightsThatHaveChangedSinceAreRefused) {
  write_job("", "");
  ASSERT_EQ(run().exit_code, 0);
  fs::remove_all(path("runs/g/base"));
  write_job("job.seed = 12", "");
  const ChildResult changed = run();
  EXPECT_EQ(changed.exit_code, 1) << changed.output;
  EXPECT_THAT(changed.output,
              AllOf(HasSubstr("base: done; step 3"),
                    HasSubstr("start.weights: stage base now hands on the weights "),
                    HasSubstr("remove that folder to train it from the new ones"),
                    Not(HasSubstr("attempt 3 starts"))));
  // Now it is known before anything starts.
  const ChildResult early = run();
  EXPECT_EQ(early.exit_code, 2) << early.output;
  EXPECT_THAT(early.output, HasSubstr("start.weights: stage base now hands on the weights "));
  fs::remove_all(path("runs/g/more"));
  const ChildResult anew = run();
  EXPECT_EQ(anew.exit_code, 0) << anew.output;
  EXPECT_THAT(anew.output, AllOf(HasSubstr("base: done already"), HasSubstr("more: done; step 3")));
}

TEST_F(Graph, TheWorkerJudgesAStageThatItIsToldToRun) {
  write_job("", "gate = \"base.loss < 0.1\"");
  const auto stage = [this](const std::string& name) {
    return run_child(
        {"mpirun", "-n", "1", "--oversubscribe", "--bind-to", "none",
         std::string(TALARIA_BIN_DIR) + "/talaria-worker", "--job", path("graph.toml").string(),
         "--stage", name, "--run-dir", path("runs/w/" + name).string(), "--set", "train.steps=2"},
        60.0);
  };
  const ChildResult early = stage("more");
  EXPECT_EQ(early.exit_code, 2) << early.output;
  EXPECT_THAT(early.output, HasSubstr("gate base.loss < 0.1 cannot be judged"));
  ASSERT_EQ(stage("base").exit_code, 0);
  const ChildResult shut = stage("more");
  EXPECT_EQ(shut.exit_code, 2) << shut.output;
  EXPECT_THAT(shut.output, HasSubstr("gate base.loss < 0.1 does not hold: "));
  write_job("", "gate = \"base.loss < 100\"");
  const ChildResult open = stage("more");
  EXPECT_EQ(open.exit_code, 0) << open.output;
}

}  // namespace
}  // namespace talaria
