// SPDX-License-Identifier: Apache-2.0
// `talaria-worker --check`: a verdict on job file, data and run directory in one line, without MPI
// and without a trace.
#include <algorithm>
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

class Check : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_check_{}", ::getpid()),
                          kTinyModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  static ChildResult check(const std::vector<std::string>& set) {
    std::vector<std::string> args = {"--check", "--job", (jobs_->path() / "job.toml").string(),
                                     "--run-dir", (jobs_->path() / "run").string()};
    for (const std::string& each : set) args.insert(args.end(), {"--set", each});
    return jobs_->tool(args);
  }

  static void expect_refused(const std::string& set, const std::vector<std::string>& parts) {
    const ChildResult result = check({set});
    EXPECT_EQ(result.exit_code, 2) << set << ": " << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
    for (const std::string& part : parts) {
      EXPECT_NE(result.output.find(part), std::string::npos) << part << ": " << result.output;
    }
  }

  static const JobFolder& jobs() { return *jobs_; }

 private:
  static JobFolder* jobs_;
};

JobFolder* Check::jobs_ = nullptr;

TEST_F(Check, AValidJobOfAnyNumberOfRanksIsValidAndQuick) {
  const double start = monotonic_seconds();
  const ChildResult result = check({"parallel.tensor=2", "parallel.data=4"});
  EXPECT_LT(monotonic_seconds() - start, 2.0);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(result.output, (jobs().path() / "job.toml").string() + ": valid\n");
  EXPECT_FALSE(fs::exists(jobs().path() / "run")) << "a check makes nothing";
}

TEST_F(Check, WhatIsWrongIsSaidInOneLine) {
  expect_refused("train.stepz=5", {"train.stepz", "steps"});
  expect_refused("parallel.tensor=3", {"tensor"});
  expect_refused("data.sources=[{path=\"/no/such.tok\", weight=1.0}]", {"/no/such.tok"});
  expect_refused("data.tokenizer=\"/no/such\"", {"/no/such"});
  expect_refused("model.vocab=300", {"headers.tok", "300"});
  const ChildResult missing = jobs().tool({"--check", "--job", "/no/such.toml"});
  EXPECT_EQ(missing.exit_code, 2) << missing.output;
  EXPECT_NE(missing.output.find("/no/such.toml"), std::string::npos) << missing.output;
}

TEST_F(Check, DamagedDataIsRefused) {
  const fs::path file = jobs().path() / "data/headers.tok";
  const std::string whole = read_file(file);
  fs::resize_file(file, whole.size() - 1001);
  expect_refused("train.steps=5", {"headers.tok", "byte"});
  write_file_atomic(file, whole);
}

TEST_F(Check, WeightsToBeginWithMustBeThereAndFit) {
  RunPlan plan;
  plan.set = {"train.steps=2"};
  ASSERT_EQ(jobs().run("base", plan, 60).exit_code, 0);
  const std::string base = (jobs().path() / "base").string();
  for (const std::string& start : {base, base + "/checkpoints/step-00000002"}) {
    const ChildResult good = check({"start.weights=" + start});
    EXPECT_EQ(good.exit_code, 0) << good.output;
    struct Row {
      const char* set;
      std::vector<std::string> parts;
    };
    for (const Row& row :
         {Row{"model.layers=5", {"start.weights: ", "no tensor blocks.4.mlp.fc.weight"}},
          Row{"model.layers=3", {"start.weights: ", "more than 3 layers"}},
          Row{"model.hidden=32", {"tok_embed is 512 x 64, [model] says 512 x 32"}},
          Row{"model.ffn=128", {"blocks.3.mlp.fc.weight is 256 x 64, [model] says 128 x 64"}},
          Row{"model.context=64", {"pos_embed is 32 x 64, [model] says 64 x 64"}}}) {
      const ChildResult bad = check({"start.weights=" + start, row.set});
      EXPECT_EQ(bad.exit_code, 2) << row.set << ": " << bad.output;
      for (const std::string& part : row.parts) {
        EXPECT_NE(bad.output.find(part), std::string::npos) << part << ": " << bad.output;
      }
    }
  }
  expect_refused("start.weights=/no/such", {"start.weights: \"/no/such\": /no/such is no folder"});
  expect_refused("start.weights=" + (jobs().path() / "data").string(),
                 {"start.weights: ", "no checkpoint in ", "data/checkpoints"});
  const fs::path manifest = jobs().path() / "base/checkpoints/step-00000002/manifest.json";
  const std::string whole = read_file(manifest);
  write_file_atomic(manifest, whole.substr(0, whole.size() / 2));
  expect_refused("start.weights=" + base, {"start.weights: ", "step-00000002: "});
  write_file_atomic(manifest, whole);
}

TEST_F(Check, AStageMayBeginWithOneThatIsNotDoneYet) {
  const fs::path file = jobs().path() / "staged.toml";
  std::ofstream(file) << read_file(jobs().path() / "job.toml")
                      << "\n[[stage]]\nname = \"base\"\n[[stage]]\nname = \"more\"\n"
                         "start.weights = \"stage:base\"\ngate = \"base.loss < 1\"\n";
  const ChildResult result = jobs().tool({"--check", "--job", file.string(), "--stage", "more"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(Check, WhatARunMayNotChangeIsRefused) {
  RunPlan plan;
  plan.set = {"train.steps=3", "optimizer.decay_steps=60"};
  ASSERT_EQ(jobs().run("run", plan, 60).exit_code, 0);
  const std::vector<std::string> same = {"train.steps=9", "optimizer.decay_steps=60",
                                         "job.numerics=\"invariant\"", "job.virtual_shards=4",
                                         "job.sample_groups=2"};
  const auto with = [&same](const std::string& more) {
    std::vector<std::string> set = same;
    set.push_back(more);
    return set;
  };
  const ChildResult allowed = check(with("parallel.tensor=2"));
  EXPECT_EQ(allowed.exit_code, 0) << allowed.output;
  const ChildResult layers = check(with("model.layers=5"));
  EXPECT_EQ(layers.exit_code, 2) << layers.output;
  EXPECT_NE(layers.output.find("model.layers"), std::string::npos) << layers.output;
  const fs::path headers = jobs().path() / "data/headers.tok";
  const std::string whole = read_file(headers);
  write_file_atomic(headers, read_file(jobs().path() / "data/sources.tok"));
  const ChildResult data = check(with("train.steps=9"));
  EXPECT_EQ(data.exit_code, 2) << data.output;
  EXPECT_NE(data.output.find("fingerprint"), std::string::npos) << data.output;
  write_file_atomic(headers, whole);
}

}  // namespace
}  // namespace talaria::worker
