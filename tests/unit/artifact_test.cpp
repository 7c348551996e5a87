// SPDX-License-Identifier: Apache-2.0
// What a run hands on comes back as it was written; a damaged file is an error that names it.
#include "worker/artifact.h"

#include <cmath>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

class ArtifactFile : public testing::Test {
 protected:
  ArtifactFile()
      : run_(fs::temp_directory_path() / fmt::format("talaria_artifact_{}", ::getpid())) {
    fs::remove_all(run_);
    fs::create_directories(run_);
  }
  ~ArtifactFile() override { fs::remove_all(run_); }

  static Artifact example() {
    return {"reward",
            "checkpoints/step-00000100",
            100,
            "00ff",
            {{"accuracy", 0.75}, {"loss", 0.1 + 0.2}, {"broken", std::nan("")}},
            "feed+beef",
            "cafe",
            {{"weights", "runs/a \"b\"\n/checkpoints/step-00000007", 7, "1234"}}};
  }

  fs::path run_;
};

TEST_F(ArtifactFile, ComesBackAsItWasWritten) {
  const Artifact written = example();
  write_artifact(run_, written);
  const Artifact read = read_artifact(run_).value();
  EXPECT_EQ(read.kind, written.kind);
  EXPECT_EQ(read.checkpoint, written.checkpoint);
  EXPECT_EQ(read.step, written.step);
  EXPECT_EQ(read.weights_hash, written.weights_hash);
  EXPECT_EQ(read.data, written.data);
  EXPECT_EQ(read.job_hash, written.job_hash);
  const std::map<std::string, double> finite = {{"accuracy", 0.75}, {"loss", 0.1 + 0.2}};
  EXPECT_EQ(read.metrics, finite) << "bit for bit, and no metric that is no number";
  ASSERT_EQ(read.origins.size(), 1U);
  EXPECT_EQ(read.origins[0].role, "weights");
  EXPECT_EQ(read.origins[0].checkpoint, written.origins[0].checkpoint);
  EXPECT_EQ(read.origins[0].step, 7);
  EXPECT_EQ(read.origins[0].weights_hash, "1234");
}

TEST_F(ArtifactFile, IsNothingWhereThereIsNone) { EXPECT_FALSE(read_artifact(run_).has_value()); }

TEST_F(ArtifactFile, IsReplacedWhole) {
  write_artifact(run_, example());
  Artifact later = example();
  later.step = 200;
  later.metrics.clear();
  write_artifact(run_, later);
  EXPECT_EQ(read_artifact(run_)->step, 200);
  EXPECT_TRUE(read_artifact(run_)->metrics.empty());
}

TEST_F(ArtifactFile, DamageIsAnErrorThatNamesTheFile) {
  write_artifact(run_, example());
  const std::string whole = read_file(run_ / kArtifactName);
  std::vector<std::string> damaged = {"", "{}", "[]", "null", whole.substr(0, whole.size() / 2)};
  for (const char* key : {"kind", "checkpoint", "step", "weights_hash", "metrics", "lineage",
                          "data", "job", "start", "role"}) {
    std::string text = whole;
    text.replace(text.find(fmt::format("\"{}\"", key)), std::string(key).size() + 2, "\"x\"");
    damaged.push_back(text);
  }
  for (const std::string& text : damaged) {
    std::ofstream(run_ / kArtifactName, std::ios::trunc) << text;
    try {
      read_artifact(run_);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr((run_ / kArtifactName).string()));
      EXPECT_THAT(error.what(), testing::HasSubstr("run the stage again"));
    }
  }
}

}  // namespace
}  // namespace talaria::worker
