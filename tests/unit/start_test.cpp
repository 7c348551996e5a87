// SPDX-License-Identifier: Apache-2.0
// Where weights come from: which checkpoint a value of [start] names, and every way in which it can
// be the wrong one.
#include "worker/start.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/file.h"
#include "launch/artifact.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/manifest.h"
#include "tests/unit/one_rank.h"
#include "worker/exchange.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using test::OneRank;
using testing::AllOf;
using testing::HasSubstr;

class Start : public testing::Test {
 protected:
  Start() : folder_("start"), job_(folder_.job("sft", "x")) {}

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  // A checkpoint of a model of `job` at `step`, whose weights are drawn from `seed`.
  fs::path save(const std::string& run, std::int64_t step, std::uint64_t seed = 5,
                const std::vector<std::string>& set = {}, const std::string& tokenizer = "") {
    launch::Job job = folder_.job("sft", "x", set);
    job.job.seed = seed;
    OneRank rank;
    Engine engine(job, 0, rank.groups(), rank.pool());
    TrainingState state;
    state.step = step;
    state.job_toml = job.effective_toml;
    state.tokenizer = tokenizer;
    storage::BoxGroup group = {"param", engine.stage().parameters().weight_boxes()};
    // One checkpoint a root is what it writes.
    const fs::path lone = save_weights(group, job, state, path("lone"));
    fs::path to = path(run) / "checkpoints" / lone.filename();
    fs::create_directories(to.parent_path());
    fs::rename(lone, to);
    fs::remove_all(path("lone"));
    return to;
  }

  std::string resolve(const std::string& start, const fs::path& run = "") {
    ThreadPool pool(1);
    return resolve_start(start, run.empty() ? path("runs/own") : run, pool).string();
  }
  template <class Failure = UsageError>
  std::string refusal(const std::string& start) {
    try {
      resolve(start);
    } catch (const Failure& error) {
      return error.what();
    }
    return "no refusal";
  }

  // load_start in a run of `job`; what is said where it fails.
  std::string load(const std::string& start, OneRank& rank, Engine& engine,
                   StartUse use = StartUse::kTrained, bool resumes = false,
                   const std::string& role = "weights") {
    testing::internal::CaptureStderr();
    try {
      load_start(role, start, use, rank.resources(path("runs/own"), resumes), engine);
    } catch (const AgreedFailure& failure) {
      return fmt::format("{}: {}", failure.exit_code, testing::internal::GetCapturedStderr());
    }
    testing::internal::GetCapturedStderr();
    return "loaded";
  }

  test::ScratchFolder folder_;
  launch::Job job_;
};

TEST_F(Start, ACheckpointsFolderIsItself) {
  const fs::path checkpoint = save("runs/a", 3);
  EXPECT_EQ(resolve(checkpoint.string()), checkpoint.string());
}

TEST_F(Start, OfARunItIsTheNewestThatVerifies) {
  save("runs/a", 3);
  const fs::path newer = save("runs/a", 20);
  EXPECT_EQ(resolve(path("runs/a").string()), newer.string());
  for (const auto& entry : fs::directory_iterator(newer)) {
    if (entry.path().extension() == ".h5") fs::resize_file(entry.path(), 100);
  }
  EXPECT_THAT(resolve(path("runs/a").string()), HasSubstr("step-00000003"));
}

TEST_F(Start, OfAFinishedRunItIsWhatItHandsOn) {
  save("runs/a", 3);
  save("runs/a", 20);
  launch::Artifact artifact;
  artifact.checkpoint = "checkpoints/step-00000003";
  launch::write_artifact(path("runs/a"), artifact);
  EXPECT_THAT(resolve(path("runs/a").string()), HasSubstr("step-00000003"));
  fs::remove_all(path("runs/a/checkpoints/step-00000003"));
  EXPECT_THAT(refusal(path("runs/a").string()),
              AllOf(HasSubstr("the run hands on"), HasSubstr("which is gone")));
  std::ofstream(path("runs/a") / launch::kArtifactName) << "{";
  EXPECT_THAT(refusal<Error>(path("runs/a").string()), HasSubstr(launch::kArtifactName));
}

TEST_F(Start, AStageIsTheRunBesideThisOne) {
  const fs::path checkpoint = save("runs/base", 7);
  EXPECT_EQ(resolve("stage:base"), checkpoint.string());
  EXPECT_EQ(resolve("stage:base", path("runs/own/")), checkpoint.string()) << "a slash at the end";
  EXPECT_THAT(refusal("stage:other"),
              AllOf(HasSubstr("\"stage:other\""), HasSubstr("runs/other is no folder")));
}

TEST_F(Start, WhatIsNotThereIsNamed) {
  EXPECT_THAT(refusal("/no/such"), HasSubstr("/no/such is no folder"));
  EXPECT_THAT(refusal("a\nb"), HasSubstr("\"a\\nb\""));
  fs::create_directories(path("runs/empty"));
  EXPECT_THAT(refusal(path("runs/empty").string()), HasSubstr("no checkpoint that verifies in"));
  const std::string file = folder_.write("file", "x");
  EXPECT_THAT(refusal(file), HasSubstr("is no folder"));
}

TEST_F(Start, ADamagedCheckpointIsNamedNotRead) {
  const fs::path checkpoint = save("runs/a", 3);
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (entry.path().filename().string().starts_with("shard-")) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(fs::file_size(entry.path()) / 2));
      file.write("\x55\xAA\x55", 3);
    }
  }
  EXPECT_THAT(refusal<Error>(checkpoint.string()),
              AllOf(HasSubstr("damaged"), HasSubstr("shard-"), HasSubstr("another checkpoint")));
}

TEST_F(Start, TheWeightsAreThoseOfTheCheckpointAndTheOriginIsKept) {
  const fs::path checkpoint = save("runs/a", 3, 77);
  launch::Job other = job_;
  other.job.seed = 77;
  OneRank rank;
  Engine wanted(other, 0, rank.groups(), rank.pool());
  Engine engine(job_, 0, rank.groups(), rank.pool());
  EXPECT_NE(test::weights_of(engine), test::weights_of(wanted));
  EXPECT_EQ(load("", rank, engine), "loaded");
  EXPECT_NE(test::weights_of(engine), test::weights_of(wanted)) << "nothing is named";
  EXPECT_EQ(load(checkpoint.string(), rank, engine, StartUse::kTrained, true), "loaded");
  EXPECT_NE(test::weights_of(engine), test::weights_of(wanted)) << "its own checkpoint has them";
  EXPECT_TRUE(rank.origins.empty());
  EXPECT_EQ(load(checkpoint.string(), rank, engine), "loaded");
  EXPECT_EQ(test::weights_of(engine), test::weights_of(wanted));
  ASSERT_EQ(rank.origins.size(), 1U);
  EXPECT_EQ(rank.origins[0].checkpoint, checkpoint.string());
  EXPECT_EQ(rank.origins[0].step, 3);
  EXPECT_EQ(rank.origins[0].weights_hash.size(), 32U);
}

TEST_F(Start, AScalarHeadKeepsItsOwnWeightsWhereTheCheckpointHasNone) {
  const fs::path checkpoint = save("runs/a", 3, 77);
  OneRank rank;
  Engine engine(job_, 0, rank.groups(), rank.pool(), {.head = model::HeadKind::kScalar});
  const auto head = [&] {
    std::vector<float> all;
    for (const auto& box : engine.stage().parameters().weight_boxes()) {
      if (box.tensor.starts_with("value_head.")) all.push_back(box.data[0]);
    }
    return all;
  };
  const std::vector<float> before = head();
  const std::vector<float> all = test::weights_of(engine);
  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(load(checkpoint.string(), rank, engine), "loaded");
  EXPECT_EQ(head(), before);
  EXPECT_NE(test::weights_of(engine), all);
}

TEST_F(Start, ALanguageModelIsNoRewardModel) {
  const fs::path checkpoint = save("runs/a", 3);
  OneRank rank;
  Engine engine(job_, 0, rank.groups(), rank.pool(),
                {.head = model::HeadKind::kScalar, .frozen = true});
  const auto said =
      AllOf(HasSubstr("start.reward: " + checkpoint.string() +
                      ": a language model, no reward model: it has no value_head."),
            HasSubstr("allowed: the run or a checkpoint of a job of kind \"reward\""));
  EXPECT_THAT(load(checkpoint.string(), rank, engine, StartUse::kFrozen, false, "reward"),
              AllOf(testing::StartsWith("2: "), said));
  launch::Job job = job_;
  job.start.reward = checkpoint.string();
  try {
    check_starts(job);
    ADD_FAILURE() << "it was taken";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), said);
  }
}

TEST_F(Start, AComplaintNamesTheKeyThatWasWritten) {
  const fs::path checkpoint = save("runs/a", 3, 5, {}, "0123");
  OneRank rank;
  rank.tokenizer = "4567";
  Engine engine(job_, 0, rank.groups(), rank.pool());
  const auto complaint = [&](const std::string& role, const std::string& start) {
    return load(start, rank, engine, StartUse::kTrained, false, role);
  };
  for (const std::string& start : {checkpoint.string(), std::string("/no/such")}) {
    rank.start = {.weights = "w", .reference = start, .reward = start, .value = start};
    EXPECT_THAT(complaint("reward", start), HasSubstr("start.reward: "));
    EXPECT_THAT(complaint("value", start), HasSubstr("start.reward: ")) << "its default";
    EXPECT_THAT(complaint("reference", start), HasSubstr("start.reference: "));
    rank.start = {.weights = start, .reference = start, .reward = "r", .value = start};
    EXPECT_THAT(complaint("value", start), HasSubstr("start.weights: "));
    EXPECT_THAT(complaint("reference", start), HasSubstr("start.weights: "));
    rank.start.weights = "w";
    EXPECT_THAT(complaint("value", start), HasSubstr("start.value: "));
  }
}

TEST_F(Start, AModelOfAnotherShapeIsRefusedWithBothNumbers) {
  struct Case {
    const char* set;
    const char* part;
  };
  for (const Case& each :
       {Case{"model.vocab=300", "tok_embed is 300 x 32, [model] says 257 x 32"},
        Case{"model.layers=3", "it has more than 2 layers"},
        Case{"model.heads=4", "a model with 4 heads, [model] says 2"},
        Case{"model.hidden=64", "tok_embed is 257 x 64, [model] says 257 x 32"},
        Case{"model.ffn=96", "mlp.fc.weight is 96 x 32, [model] says 128 x 32"},
        Case{"model.context=64", "pos_embed is 64 x 32, [model] says 48 x 32"}}) {
    fs::remove_all(path("runs"));
    const fs::path checkpoint = save("runs/a", 3, 5, {each.set});
    OneRank rank;
    Engine engine(job_, 0, rank.groups(), rank.pool());
    const std::vector<float> before = test::weights_of(engine);
    EXPECT_THAT(
        load(checkpoint.string(), rank, engine),
        AllOf(testing::StartsWith("2: "), HasSubstr(checkpoint.string()), HasSubstr(each.part)));
    EXPECT_EQ(test::weights_of(engine), before);
    EXPECT_TRUE(rank.origins.empty());
  }
}

TEST_F(Start, AnotherVocabularyOfTheSameSizeIsRefused) {
  const fs::path checkpoint = save("runs/a", 3, 5, {}, "0123");
  OneRank rank;
  Engine engine(job_, 0, rank.groups(), rank.pool());
  rank.tokenizer = "4567";
  EXPECT_THAT(load(checkpoint.string(), rank, engine),
              HasSubstr("another tokenizer (0123, the job's is 4567)"));
  rank.tokenizer = "0123";
  EXPECT_EQ(load(checkpoint.string(), rank, engine), "loaded");
  EXPECT_EQ(load(save("runs/b", 3).string(), rank, engine), "loaded") << "it knows none";
}

TEST_F(Start, ARunThatResumesIsHeldToItsFrozenWeights) {
  const fs::path checkpoint = save("runs/a", 3, 5);
  OneRank rank;
  Engine engine(job_, 0, rank.groups(), rank.pool(), {.frozen = true});
  ASSERT_EQ(load(checkpoint.string(), rank, engine, StartUse::kFrozen), "loaded");
  EXPECT_EQ(load(checkpoint.string(), rank, engine, StartUse::kFrozen, true), "loaded");
  EXPECT_EQ(rank.origins.size(), 1U);
  fs::remove_all(path("runs"));
  save("runs/a", 3, 99);
  EXPECT_THAT(load(checkpoint.string(), rank, engine, StartUse::kFrozen, true),
              AllOf(HasSubstr("but the run was started with"), HasSubstr("another --run-dir")));
}

}  // namespace
}  // namespace talaria::worker
