// SPDX-License-Identifier: Apache-2.0
// artifact.json: written and read back, and nothing else is taken for one.
#include "launch/artifact.h"

#include <cmath>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Artifact sample() {
  Artifact artifact;
  artifact.kind = "reward";
  artifact.checkpoint = "checkpoints/step-00000100";
  artifact.step = 100;
  artifact.weights_hash = "00ff";
  artifact.metrics = {{"accuracy", 0.625}, {"loss", 0.5}};
  artifact.data = "d1";
  artifact.job_hash = "e2";
  artifact.origins = {{"weights", "runs/x/sft/checkpoints/step-00000007", 7, "aa"}};
  return artifact;
}

TEST(Artifact, ReadsBackWhatWasWritten) {
  Artifact artifact = sample();
  artifact.metrics["margin"] = std::nan("");
  const Artifact read = parse_artifact(to_text(artifact));
  EXPECT_EQ(read.kind, "reward");
  EXPECT_EQ(read.checkpoint, artifact.checkpoint);
  EXPECT_EQ(read.step, 100);
  EXPECT_EQ(read.weights_hash, "00ff");
  EXPECT_EQ(read.metrics, sample().metrics) << "what is no number is left out";
  EXPECT_EQ(read.data, "d1");
  EXPECT_EQ(read.job_hash, "e2");
  ASSERT_EQ(read.origins.size(), 1U);
  EXPECT_EQ(read.origins[0].role, "weights");
  EXPECT_EQ(read.origins[0].checkpoint, artifact.origins[0].checkpoint);
  EXPECT_EQ(read.origins[0].step, 7);
  EXPECT_EQ(read.origins[0].weights_hash, "aa");
}

TEST(Artifact, ARunHasOneOrNone) {
  const fs::path run = fs::temp_directory_path() / fmt::format("talaria_artifact_{}", ::getpid());
  fs::create_directories(run);
  EXPECT_FALSE(read_artifact(run));
  write_artifact(run, sample());
  EXPECT_EQ(read_artifact(run).value().step, 100);
  write_file_atomic(run / kArtifactName, "{\"kind\": \"reward\"}");
  try {
    read_artifact(run);
    ADD_FAILURE() << "a damaged one was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((run / kArtifactName).string()));
    EXPECT_THAT(error.what(), HasSubstr("remove it and run the stage again"));
  }
  fs::remove_all(run);
}

TEST(Artifact, NothingElseIsTakenForOne) {
  const std::string good = to_text(sample());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (std::size_t size = 0; size + 2 < good.size(); size += 7) {
    EXPECT_THROW(parse_artifact(good.substr(0, size)), Error) << size;
  }
  for (const std::string& text :
       {std::string("[]"), std::string("7"), with("\"step\":100", "\"step\":\"100\""),
        with("\"step\":100", "\"step\":1e30"), with("\"step\":100", "\"stop\":100"),
        with("6.25E-1", "1e999"), with("6.25E-1", "true"), with("\"weights\"", "7")}) {
    EXPECT_THROW(parse_artifact(text), Error) << text;
  }
}

}  // namespace
}  // namespace talaria::launch
