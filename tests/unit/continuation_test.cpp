// SPDX-License-Identifier: Apache-2.0
// What may differ when a run is continued.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/good_job.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Continuation, LayoutAndMoreStepsMayChange) {
  const Job saved = parse(kGood);
  const std::vector<std::string> fine = {
      "parallel.tensor=4",        "parallel.pipeline=1",  "parallel.data=1",
      "cluster.ranks=4",          "checkpoint.keep=9",    "train.micro_batch=12",
      "parallel.zero=true",       "train.steps=200",      "cluster.hosts=['n1','n2']",
      "cluster.launch_agent=rsh", "cluster.memory_gib=0", "monitor.beat_seconds=2",
      "monitor.step_seconds=4"};
  EXPECT_NO_THROW(check_continuation(saved, parse(kGood, fine)));
}

TEST(Continuation, AnythingElseIsRefusedWithBothValues) {
  const Job saved = parse(kGood);
  const auto message = [&](const std::string& override) {
    return complaint([&] { continue_job(ConfigFile::parse(kGood, "j.toml", {override}), saved); });
  };
  EXPECT_EQ(message("train.dropout=0.2"),
            "--set train.dropout: train.dropout: found 0.2, but the run was started with 0.1; "
            "allowed: 0.1, or another --run-dir");
  EXPECT_EQ(message("train.steps=99"),
            "--set train.steps: train.steps: found 99, but the run was started with 100; allowed: "
            "100 or more");
  for (const char* override :
       {"job.name=other", "job.seed=8", "job.virtual_shards=8", "job.sample_groups=4",
        "model.layers=5", "model.hidden=512", "model.vocab=2049", "data.sources=[{path='a.tok'}]",
        "data.tokenizer=x", "data.validation=0", "train.global_batch=48",
        "train.sequence_length=64", "train.eval_every=1", "optimizer.learning_rate=1e-2",
        "optimizer.decay=cosine", "optimizer.decay_steps=80", "optimizer.clip=0"}) {
    const std::string key(override, std::string_view(override).find('='));
    EXPECT_THAT(message(override),
                testing::AllOf(StartsWith(fmt::format("--set {}: {}: ", key, key)),
                               HasSubstr("but the run was started with ")));
  }
  // Long strings are compared in full.
  const Job one = parse(kGood, {"data.tokenizer=" + std::string(200, 'a') + "1"});
  const Job two = parse(kGood, {"data.tokenizer=" + std::string(200, 'a') + "2"});
  EXPECT_THROW(check_continuation(one, two), UsageError);
  EXPECT_EQ(complaint([&] { check_continuation(saved, parse(kGood, {"optimizer.clip=1"})); }),
            "optimizer.clip: found 1, but the run was started with 0.5; allowed: 0.5, or another "
            "--run-dir");
}

TEST(Continuation, WhatTheFirstStartFixedStays) {
  // dp 16 makes 16 groups; the run goes on with dp 1, and longer.
  const std::string text = std::string(kLeast) + "steps = 5\nglobal_batch = 16\n";
  const Job saved = parse(text, {"job.numerics=invariant", "parallel.data=16"});
  EXPECT_EQ(saved.job.numerics.sample_groups, 16);
  const ConfigFile now =
      ConfigFile::parse(text, "j.toml", {"job.numerics=invariant", "train.steps=50"});
  const Job job = continue_job(now, parse(saved.effective_toml));
  EXPECT_EQ(job.job.numerics.sample_groups, 16);
  EXPECT_EQ(job.optimizer.decay_steps, 5);
  EXPECT_EQ(job.train.steps, 50);
  EXPECT_EQ(parse(job.effective_toml).optimizer.decay_steps, 5);
  // A group of one sample cannot be folded two samples at a time.
  EXPECT_EQ(complaint([&] {
              continue_job(ConfigFile::parse(text, "j.toml",
                                             {"job.numerics=invariant", "train.micro_batch=2"}),
                           saved);
            }),
            "--set train.micro_batch: train.micro_batch: found 2; allowed: 1 (divisors of a group, "
            "train.global_batch 16 / job.sample_groups 16)");
  // A group with very many divisors: said at once, and the message has an end.
  const std::string large = std::string(kLeast) + "steps = 5\nglobal_batch = 2095133040\n";
  const std::string many = complaint([&] {
    continue_job(
        ConfigFile::parse(large, "j.toml", {"job.numerics=invariant", "train.micro_batch=2"}),
        parse(large, {"job.numerics=invariant", "job.sample_groups=16"}));
  });
  EXPECT_THAT(many, HasSubstr("allowed: 1, 3, 5, 7, 9, 11, "));
  EXPECT_LT(many.size(), 400U);
  // Fast numerics follow the layout, and it may change.
  const Job fast = parse(text, {"parallel.data=16"});
  EXPECT_NO_THROW(check_continuation(fast, parse(text)));
}

}  // namespace
}  // namespace talaria::launch
