// SPDX-License-Identifier: Apache-2.0
// The job file: what is read, what defaults follow from it, and the page about its keys.
#include "launch/job.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/file.h"
#include "launch/job_keys.h"
#include "launch/stages.h"
#include "tests/unit/good_job.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(JobFile, EveryKeyIsRead) {
  const Job job = parse(kGood);
  EXPECT_EQ(job.job.name, "good");
  EXPECT_EQ(job.job.seed, 7U);
  EXPECT_TRUE(job.job.numerics.invariant);
  EXPECT_EQ(job.job.numerics.virtual_shards, 4);
  EXPECT_EQ(job.job.numerics.sample_groups, 2);
  EXPECT_EQ(job.cluster.launcher, "mpirun");
  EXPECT_EQ(job.cluster.ranks, 8);
  EXPECT_EQ(job.cluster.threads_per_rank, 2);
  EXPECT_EQ(job.cluster.max_restarts, 0);
  EXPECT_EQ(job.parallel.layout, (parallel::Layout{2, 2, 2}));
  EXPECT_EQ(job.parallel.schedule, "gpipe");
  EXPECT_FALSE(job.parallel.zero);
  EXPECT_EQ(job.model, (model::GptConfig{4, 256, 8, 512, 256, 2048}));
  ASSERT_EQ(job.data.sources.size(), 2U);
  EXPECT_EQ(job.data.sources[0].path, "a.tok");
  EXPECT_EQ(job.data.sources[0].weight, 2.0);
  EXPECT_EQ(job.data.sources[1].weight, 1.0);
  EXPECT_EQ(job.data.tokenizer, "tok");
  EXPECT_EQ(job.data.validation, 0.05);
  EXPECT_EQ(job.train.steps, 100);
  EXPECT_EQ(job.train.tokens, 100 * 24 * 128);
  EXPECT_EQ(job.train.micro_batch, 3);
  EXPECT_EQ(job.train.sequence_length, 128);
  EXPECT_EQ(job.train.dropout, 0.1);
  EXPECT_EQ(job.train.eval_every, 10);
  EXPECT_EQ(job.train.eval_samples, 5);
  EXPECT_EQ(job.optimizer.learning_rate, 2e-3);
  EXPECT_EQ(job.optimizer.min_learning_rate, 1e-4);
  EXPECT_EQ(job.optimizer.warmup_steps, 10);
  EXPECT_EQ(job.optimizer.decay, "linear");
  EXPECT_EQ(job.optimizer.decay_steps, 90);
  EXPECT_EQ(job.optimizer.beta1, 0.8);
  EXPECT_EQ(job.optimizer.beta2, 0.99);
  EXPECT_EQ(job.optimizer.eps, 1e-6);
  EXPECT_EQ(job.optimizer.weight_decay, 0.0);
  EXPECT_EQ(job.optimizer.clip, 0.5);
  EXPECT_EQ(job.checkpoint.every, 20);
  EXPECT_EQ(job.checkpoint.keep, 2);
  EXPECT_EQ(job.checkpoint.select, "best");
  EXPECT_EQ(job.start.weights, "runs/base");
  EXPECT_EQ(job.cluster.hosts, (std::vector<std::string>{"node1:6", "10.0.0.2:6"}));
  EXPECT_EQ(job.cluster.launch_agent, "ssh -x");
  EXPECT_EQ(job.cluster.memory_gib, 2.5);
  EXPECT_EQ(job.memory_limit(), std::int64_t{5} << 29);
  EXPECT_EQ(job.monitor.beat_seconds, 0.5);
  EXPECT_EQ(job.beat_seconds(), 0.5);
  EXPECT_EQ(job.monitor.start_seconds, 60);
  EXPECT_EQ(job.monitor.setup_seconds, 61);
  EXPECT_EQ(job.monitor.restore_seconds, 62);
  EXPECT_EQ(job.monitor.step_seconds, 63);
  EXPECT_EQ(job.monitor.evaluate_seconds, 64);
  EXPECT_EQ(job.monitor.save_seconds, 65);
  EXPECT_EQ(job.monitor.finish_seconds, 66);
  EXPECT_EQ(job.monitor.rollout_seconds, 67);
  EXPECT_EQ(job.monitor.score_seconds, 68);
  EXPECT_EQ(job.monitor.stopped_seconds, 7);
  EXPECT_EQ(job.monitor.stop_grace_seconds, 8);
  EXPECT_EQ(job.samples_per_rank(), 12);
  EXPECT_EQ(job.micro_batches(), 4);
}

TEST(JobFile, DefaultsFollowFromOtherKeys) {
  const Job job = parse(std::string(kLeast) + "steps = 5");
  EXPECT_EQ(job.model, (model::GptConfig{12, 768, 12, 3072, 1024, 50257}));
  EXPECT_EQ(job.train.sequence_length, 1024);
  EXPECT_EQ(job.train.tokens, 5 * 8 * 1024);
  EXPECT_EQ(job.cluster.ranks, 1);
  EXPECT_EQ(job.optimizer.decay_steps, 5);
  EXPECT_DOUBLE_EQ(job.optimizer.min_learning_rate, 6e-5);
  EXPECT_FALSE(job.job.numerics.invariant);
  const Job other = parse(std::string(kLeast) +
                          "tokens = 40_961\n[model]\npreset = 'gpt2-355m'\nheads = 8\nvocab = 300\n"
                          "[parallel]\ntensor = 4\ndata = 2\n[optimizer]\nlearning_rate = 1\n"
                          "warmup_steps = 99");
  EXPECT_EQ(other.model, (model::GptConfig{24, 1024, 8, 4096, 1024, 300}));
  EXPECT_EQ(other.train.steps, 6);
  EXPECT_EQ(other.train.tokens, 6 * 8 * 1024);
  EXPECT_EQ(other.cluster.ranks, 8);
  EXPECT_EQ(other.job.numerics.virtual_shards, 4);
  EXPECT_EQ(other.job.numerics.sample_groups, 2);
  EXPECT_EQ(other.optimizer.min_learning_rate, 0.1);
  EXPECT_EQ(other.optimizer.decay_steps, 100);
}

TEST(JobFile, InvariantSplitsDefaultToTheLargestUpToEight) {
  const auto splits = [](const std::vector<std::string>& overrides) {
    std::vector<std::string> all = {"job.numerics=invariant"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    const Job job = parse(std::string(kLeast) + "steps = 5", all);
    return std::pair(job.job.numerics.virtual_shards, job.job.numerics.sample_groups);
  };
  EXPECT_EQ(splits({}), std::pair(4, 8));                           // 12 heads
  EXPECT_EQ(splits({"model.preset=gpt2-1558m"}), std::pair(1, 8));  // 25 heads
  EXPECT_EQ(splits({"train.global_batch=12"}), std::pair(4, 4));
  EXPECT_EQ(splits({"train.global_batch=12", "train.micro_batch=6"}), std::pair(4, 2));
  EXPECT_EQ(splits({"train.sequence_length=2"}), std::pair(2, 8));
  EXPECT_EQ(splits({"model.heads=16"}), std::pair(8, 8));
  EXPECT_EQ(splits({"model.heads=16", "parallel.tensor=16"}), std::pair(16, 8));
  EXPECT_EQ(splits({"train.global_batch=32", "parallel.data=32"}), std::pair(4, 32));
}

TEST(JobFile, PresetsHaveTheirPublishedSizes) {
  const std::vector<std::pair<std::string, std::int64_t>> millions = {
      {"gpt2-124m", 124},  {"gpt2-355m", 355},  {"gpt2-774m", 774},  {"gpt2-1558m", 1558},
      {"gpt3-125m", 125},  {"gpt3-350m", 356},  {"gpt3-760m", 760},  {"gpt3-1.3b", 1316},
      {"gpt3-2.7b", 2652}, {"gpt3-6.7b", 6658}, {"gpt3-13b", 12853}, {"gpt3-175b", 174604}};
  for (const auto& [name, size] : millions) {
    const Job job = parse(std::string(kLeast) + "steps = 5", {"model.preset=\"" + name + "\""});
    EXPECT_EQ((job.model.parameters() + 500'000) / 1'000'000, size) << name;
  }
  EXPECT_EQ(millions.size(), model_presets().size());
  EXPECT_EQ(model::GptConfig{}.parameters(), 124'439'808);
}

TEST(JobFile, FlopsOfAStepAreTheClosedFormula) {
  const model::GptConfig c;
  const double t = 1024, l = 12, h = 768, v = 50257, tokens = 4096;
  const double formula = 72 * tokens * l * h * h * (1 + t / (6 * h) + v / (12 * l * h));
  EXPECT_DOUBLE_EQ(model::step_flops(c, 4096, 1024), formula);
  EXPECT_DOUBLE_EQ(model::step_flops(c, 4096, 1024, true), formula - 6 * tokens * l * h * t);
}

TEST(JobFile, BeatsAreRarerOnManyRanks) {
  const std::string text = std::string(kLeast) + "steps = 5\nglobal_batch = 128\n";
  EXPECT_EQ(parse(text, {"parallel.data=64"}).beat_seconds(), 1.0);
  EXPECT_EQ(parse(text, {"parallel.data=128"}).beat_seconds(), 5.0);
  EXPECT_EQ(parse(text).memory_limit(), 0);
  EXPECT_EQ(complaint([&] {
              parse(text, {"parallel.data=128", "monitor.step_seconds=9"});
            }),
            "--set monitor.step_seconds: monitor.step_seconds: found 9; allowed: 0, or 10 or more "
            "(two beats of 5 s, monitor.beat_seconds)");
}

TEST(JobFile, TheEffectiveFileGivesTheSameJob) {
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{},
        {"job.numerics=invariant"},
        {"data.tokenizer=a \"b\"\n[c]", "train.steps=1", "optimizer.warmup_steps=9"},
        {"cluster.launcher=mpirun", "cluster.hosts=['a']", "cluster.launch_agent=/x/ssh -v",
         "cluster.memory_gib=0.1", "monitor.step_seconds=1e6", "monitor.stopped_seconds=0.1"}}) {
    const Job job = parse(std::string(kLeast) + "steps = 5\n", overrides);
    const Job again = parse(job.effective_toml);
    EXPECT_EQ(again.effective_toml, job.effective_toml);
    for (const JobKey& key : job_keys()) EXPECT_EQ(show(key, again), show(key, job)) << key.name;
    EXPECT_EQ(show(again.data.sources), show(job.data.sources));
  }
}

TEST(JobFile, TheExamplesAreGood) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TALARIA_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".toml") continue;
    ++seen;
    const StagedJob job = parse_stages(ConfigFile::load(entry.path().string()));
    EXPECT_EQ(job.name, entry.path().stem());
    for (const Stage& stage : job.stages) EXPECT_NO_THROW(parse(stage.job.effective_toml));
  }
  EXPECT_GE(seen, 4);
  const Job quickstart =
      parse_job(ConfigFile::load(TALARIA_SOURCE_DIR "/examples/quickstart.toml"));
  EXPECT_EQ(quickstart.parallel.layout, (parallel::Layout{2, 2, 2}));
  EXPECT_EQ(quickstart.train.steps, 300);
  // The override in the head of the other example.
  const Job small = parse_job(ConfigFile::load(
      TALARIA_SOURCE_DIR "/examples/gpt2-124m.toml",
      {"parallel.tensor=1", "parallel.data=1", "train.global_batch=8", "train.tokens=65536"}));
  EXPECT_EQ(small.train.steps, 8);
}

TEST(JobReference, DocumentAndParserAgree) {
  const std::string document = read_file(TALARIA_SOURCE_DIR "/docs/job-file.md");
  const std::string begin = "<!-- keys: made by build/release/bin/job_reference -->\n";
  const std::string end = "<!-- end of keys -->\n";
  const std::size_t from = document.find(begin);
  const std::size_t to = document.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  EXPECT_EQ(document.substr(from + begin.size(), to - from - begin.size()), job_file_reference());
}

TEST(JobReference, EveryKeyIsInTheGoodFileOrAmongTheAlternatives) {
  // kGood gives every key but these two and those of other kinds; an unknown one there would have
  // been refused.
  for (const JobKey& key : job_keys()) {
    if (!key.kinds.empty() || key.name == "model.preset" || key.name == "train.tokens") continue;
    ConfigTable root = ConfigFile::parse(kGood, "j.toml").root();
    EXPECT_TRUE(root.table(key.table())->has(key.key())) << key.name;
  }
}

}  // namespace
}  // namespace talaria::launch
