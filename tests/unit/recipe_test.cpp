// SPDX-License-Identifier: Apache-2.0
// The keys of fine-tuning, reward models and PPO: read, defaulted, and refused where they do not
// fit the kind of job or each other.
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/config.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/job_keys.h"
#include "launch/stages.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;

// Every key that belongs to certain kinds, at a value that is not its default.
constexpr const char* kPpo = R"([job]
name = "chat"
kind = "ppo"
[model]
layers = 2
hidden = 64
heads = 4
context = 96
vocab = 300
[data]
sources = [{ path = "a.tok" }]
tokenizer = "tok"
files = ["prompts.jsonl", "more.jsonl"]
template = "hh"
max_bad_lines = 3
[train]
steps = 10
global_batch = 8
micro_batch = 2
[start]
weights = "runs/sft"
reference = "runs/base"
reward = "runs/rm"
value = "runs/value"
[mix]
rows = 4
coefficient = 27.8
[rewards]
model = 0.5
rule = "share"
pattern = "a"
of = "[a-z]"
compare = "no"
count = false
rule_weight = 2
clip = 5
unfinished_score = -1
score_unfinished = false
[ppo]
rollout_batch = 32
response_tokens = 24
slots = 4
temperature = 0.9
top_k = 50
top_p = 0.95
epochs = 4
clip = 0.3
value_clip = 0.25
gamma = 0.99
lambda = 0.9
whiten_advantages = false
whiten_rewards = true
kl = "adaptive"
kl_coefficient = 0.15
kl_target = 5
kl_horizon = 2000
entropy_coefficient = 0.01
stop_kl = 0.1
value_learning_rate = 1e-5
ema = 0.99
offload = true
)";

constexpr const char* kReward = R"([job]
name = "rm"
kind = "reward"
[model]
layers = 2
hidden = 64
heads = 4
context = 96
vocab = 300
[data]
tokenizer = "tok"
files = ["pairs.jsonl"]
packing = false
[reward]
demonstrations = ["good.jsonl"]
[train]
steps = 10
sequence_length = 512
)";

Job parse(const std::string& text, const std::vector<std::string>& set = {}) {
  return parse_job(ConfigFile::parse(text, "j.toml", set));
}

std::string complaint(const std::string& text, const std::vector<std::string>& set = {}) {
  try {
    parse(text, set);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Recipe, EveryKeyIsRead) {
  const Job job = parse(kPpo);
  EXPECT_EQ(job.data.files, (std::vector<std::string>{"prompts.jsonl", "more.jsonl"}));
  EXPECT_EQ(job.data.chat, "hh");
  EXPECT_EQ(job.data.max_bad_lines, 3);
  EXPECT_EQ(job.start.weights, "runs/sft");
  EXPECT_EQ(job.start.reference, "runs/base");
  EXPECT_EQ(job.start.reward, "runs/rm");
  EXPECT_EQ(job.start.value, "runs/value");
  EXPECT_EQ(job.mix.rows, 4);
  EXPECT_EQ(job.mix.coefficient, 27.8);
  EXPECT_EQ(job.step_rows(), 12);
  EXPECT_EQ(job.samples_per_rank(), 12);
  EXPECT_EQ(job.micro_batches(), 6);
  EXPECT_EQ(job.rewards.model, 0.5);
  EXPECT_EQ(job.rewards.rule, "share");
  EXPECT_EQ(job.rewards.pattern, "a");
  EXPECT_EQ(job.rewards.of, "[a-z]");
  EXPECT_FALSE(job.rewards.count);
  EXPECT_EQ(job.rewards.rule_weight, 2.0);
  EXPECT_EQ(job.rewards.clip, 5.0);
  EXPECT_EQ(job.rewards.unfinished_score, -1.0);
  EXPECT_FALSE(job.rewards.score_unfinished);
  const PpoSection& ppo = job.ppo;
  EXPECT_EQ(ppo.rollout_batch, 32);
  EXPECT_EQ(ppo.response_tokens, 24);
  EXPECT_EQ(ppo.slots, 4);
  EXPECT_EQ(ppo.temperature, 0.9);
  EXPECT_EQ(ppo.top_k, 50);
  EXPECT_EQ(ppo.top_p, 0.95);
  EXPECT_EQ(ppo.epochs, 4);
  EXPECT_EQ(ppo.clip, 0.3);
  EXPECT_EQ(ppo.value_clip, 0.25);
  EXPECT_EQ(ppo.gamma, 0.99);
  EXPECT_EQ(ppo.lambda, 0.9);
  EXPECT_FALSE(ppo.whiten_advantages);
  EXPECT_TRUE(ppo.whiten_rewards);
  EXPECT_EQ(ppo.kl, "adaptive");
  EXPECT_EQ(ppo.kl_coefficient, 0.15);
  EXPECT_EQ(ppo.kl_target, 5.0);
  EXPECT_EQ(ppo.kl_horizon, 2000.0);
  EXPECT_EQ(ppo.entropy_coefficient, 0.01);
  EXPECT_EQ(ppo.stop_kl, 0.1);
  EXPECT_EQ(ppo.value_learning_rate, 1e-5);
  EXPECT_EQ(ppo.ema, 0.99);
  EXPECT_TRUE(ppo.offload);
  const Job reward = parse(kReward);
  EXPECT_FALSE(reward.data.packing);
  EXPECT_EQ(reward.reward.demonstrations, std::vector<std::string>{"good.jsonl"});
  EXPECT_EQ(reward.train.sequence_length, 512) << "an answer has at most the context, a row more";
}

TEST(Recipe, EveryKeyOfAKindIsInOneOfTheseFiles) {
  for (const JobKey& key : job_keys()) {
    if (key.kinds.empty()) continue;
    bool found = false;
    for (const char* text : {kPpo, kReward}) {
      ConfigTable root = ConfigFile::parse(text, "j.toml").root();
      auto table = root.table(key.table());
      found |= table && table->has(key.key());
    }
    EXPECT_TRUE(found) << key.name;
  }
}

TEST(Recipe, DefaultsFollowFromOtherKeys) {
  const std::string least = R"([job]
name = "chat"
kind = "ppo"
[model]
context = 128
[data]
tokenizer = "tok"
files = ["p.jsonl"]
[train]
steps = 10
[start]
weights = "sft"
)";
  Job job = parse(least + "[rewards]\nrule = 'exact'\n");
  EXPECT_EQ(job.start.reference, "sft");
  EXPECT_EQ(job.start.value, "sft") << "without a reward model";
  EXPECT_EQ(job.ppo.rollout_batch, 8);
  EXPECT_EQ(job.ppo.value_learning_rate, job.optimizer.learning_rate);
  job = parse(least + "reward = 'rm'\n");
  EXPECT_EQ(job.start.value, "rm");
  EXPECT_EQ(parse(job.effective_toml).start.value, "rm");
}

TEST(Recipe, WhatDoesNotFitIsRefusedInOneLine) {
  EXPECT_EQ(complaint(kPpo, {"job.kind=sft"}),
            "j.toml:22: start.reference: found in a job of kind \"sft\"; allowed: with kind "
            "\"ppo\" only");
  EXPECT_THAT(complaint(kPpo, {"job.kind=pretrain"}),
              HasSubstr("data.files: found in a job of kind \"pretrain\"; allowed: with kind "
                        "\"sft\", \"reward\" or \"ppo\" only"));
  EXPECT_THAT(complaint(kPpo, {"data.files=[]"}),
              HasSubstr("data.files: missing; allowed with kind \"ppo\": one or more JSONL files "
                        "of prompts"));
  EXPECT_THAT(complaint(kReward, {"data.tokenizer="}), HasSubstr("data.tokenizer: missing"));
  EXPECT_THAT(complaint(kReward, {"checkpoint.select=best"}),
              HasSubstr("reward.demonstrations: found with checkpoint.select = \"best\""));
  EXPECT_THAT(complaint(kPpo, {"start.weights="}),
              HasSubstr("start.weights: missing; allowed with kind \"ppo\": the policy"));
  EXPECT_THAT(complaint(kPpo, {"train.dropout=0.1"}), HasSubstr("train.dropout: found 0.1"));
  EXPECT_THAT(complaint(kPpo, {"ppo.temperature=0.0"}),
              HasSubstr("ppo.temperature: found 0.0; allowed: a number from 0.01 to 100"));
  EXPECT_THAT(complaint(kPpo, {"ppo.response_tokens=96"}),
              HasSubstr("ppo.response_tokens: found 96; allowed: an integer from 1 to 95"));
  EXPECT_THAT(complaint(kPpo, {"ppo.rollout_batch=12"}),
              HasSubstr("ppo.rollout_batch: found 12; allowed: a multiple of 8"));
  EXPECT_THAT(complaint(kPpo, {"mix.rows=3"}),
              HasSubstr("mix.rows: found 3; allowed: a multiple of 2"));
  EXPECT_THAT(complaint(kPpo, {"data.sources=[]"}), HasSubstr("data.sources"));
  EXPECT_THAT(complaint(kPpo, {"start.reward=", "rewards.rule=none"}),
              HasSubstr("start.reward: missing; allowed: a reward model here, or a rule"));
  EXPECT_THAT(complaint(kPpo, {"rewards.pattern="}), HasSubstr("rewards.pattern: missing"));
  EXPECT_THAT(complaint(kPpo, {"rewards.compare=text"}),
              HasSubstr("rewards.compare: found \"text\" with rule \"share\"; allowed: with rule "
                        "\"match\" only"));
  EXPECT_THAT(complaint(kPpo, {"ppo.kl_horizon=6"}),
              HasSubstr("ppo.kl_horizon: found 6; allowed: above 6.4"));
  EXPECT_THAT(complaint(kPpo, {"ppo.kl_coefficient=0"}),
              HasSubstr("ppo.kl_coefficient: found 0; allowed with kl = \"adaptive\": above 0"));
  EXPECT_THAT(complaint(kPpo, {"rewards.of="}), HasSubstr("rewards.of: missing"));
  EXPECT_THAT(complaint(kPpo, {"train.sequence_length=97"}),
              HasSubstr("train.sequence_length: found 97; allowed: an integer from 1 to 96"));
}

TEST(Recipe, ARewardModelMayJudgeFineTuning) {
  const std::string sft = R"([job]
name = "tuned"
kind = "sft"
[model]
layers = 2
hidden = 64
heads = 4
context = 96
vocab = 300
[data]
tokenizer = "tok"
files = ["chat.jsonl"]
[train]
steps = 10
sequence_length = 128
)";
  const Job job = parse(sft + "[start]\nreward = 'runs/rm'\n[ppo]\nresponse_tokens = 95\n");
  EXPECT_EQ(job.start.reward, "runs/rm");
  EXPECT_EQ(job.ppo.response_tokens, 95);
  EXPECT_EQ(parse(job.effective_toml).ppo.response_tokens, 95);
  EXPECT_THAT(complaint(sft, {"start.reward=rm", "ppo.response_tokens=96"}),
              HasSubstr("ppo.response_tokens: found 96; allowed: an integer from 1 to 95 (less "
                        "than train.sequence_length and model.context"));
  EXPECT_THAT(complaint(sft, {"start.reward=rm", "data.validation=0"}),
              HasSubstr("start.reward: found with data.validation = 0; allowed with kind "
                        "\"sft\": with lines kept for validation"));
  for (const char* key : {"ppo.response_tokens=9", "ppo.slots=2", "ppo.offload=true"}) {
    EXPECT_THAT(complaint(sft, {key}),
                HasSubstr("found in a job of kind \"sft\" without start.reward; allowed: beside"));
  }
  EXPECT_THAT(complaint(sft, {"start.reward=rm", "ppo.temperature=2"}),
              HasSubstr("ppo.temperature: found in a job of kind \"sft\"; allowed: with kind "
                        "\"ppo\" only"));
  EXPECT_THAT(complaint(kReward, {"start.reward=rm"}),
              HasSubstr("start.reward: found in a job of kind \"reward\"; allowed: with kind "
                        "\"sft\" or \"ppo\" only"));
  EXPECT_EQ(complaint(sft, {"start.reward=rm", "start.reward="}), "");
  Job other = job;
  other.start.reward = "runs/other";
  EXPECT_THROW(check_continuation(job, other), UsageError);
  other = job;
  other.ppo.response_tokens = 9;
  EXPECT_THROW(check_continuation(job, other), UsageError);
  other = job;
  other.ppo.slots = 9;
  other.ppo.offload = true;
  other.checkpoint.select = "best";
  EXPECT_NO_THROW(check_continuation(job, other));
}

// Indented blocks that begin with [job].
TEST(Recipe, TheJobFilesOfThePageAboutThemAreGood) {
  std::istringstream page(read_file(TALARIA_SOURCE_DIR "/docs/recipes.md"));
  std::vector<std::string> files;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line == "    [job]") files.emplace_back();
    inside = (inside || line == "    [job]") && (line.empty() || line.starts_with("    "));
    if (inside) files.back() += line + "\n";
  }
  ASSERT_EQ(files.size(), 3U);
  EXPECT_EQ(parse(files[0]).optimizer.learning_rate, 9.65e-6);
  EXPECT_EQ(parse(files[0]).train.dropout, 0.2);
  EXPECT_EQ(parse(files[1]).job.kind, "reward");
  EXPECT_EQ(parse(files[1]).train.steps, 519);
  EXPECT_EQ(parse(files[2]).job.kind, "ppo");
  EXPECT_EQ(parse(files[2]).step_rows(), 64 + 512);
}

TEST(Recipe, GroupsShareTheMixEvenly) {
  const Job job = parse(kPpo, {"job.numerics=invariant"});
  EXPECT_EQ(job.job.numerics.sample_groups, 2) << "4 rows of mix in micro-batches of 2";
  EXPECT_THAT(complaint(kPpo, {"job.numerics=invariant", "job.sample_groups=4"}),
              HasSubstr("job.sample_groups: found 4; allowed: 1 or 2 (invariant numerics: powers "
                        "of two that divide train.global_batch 8 and mix.rows 4 / micro_batch 2)"));
}

TEST(Recipe, AStageStartsFromOneThatIsDoneBefore) {
  const std::string file = R"([job]
name = "line"
[model]
context = 128
[data]
sources = [{ path = "a.tok" }]
tokenizer = "tok"
[train]
steps = 10
[[stage]]
name = "base"
[[stage]]
name = "tuned"
kind = "sft"
[stage.data]
files = ["c.jsonl"]
[stage.start]
weights = "stage:base"
[[stage]]
name = "other"
after = []
[[stage]]
name = "last"
kind = "sft"
after = "tuned"
[stage.data]
files = ["c.jsonl"]
[stage.start]
weights = "stage:WHO"
)";
  const auto with = [&](const std::string& who) {
    std::string text = file;
    text.replace(text.find("WHO"), 3, who);
    return ConfigFile::parse(text, "j.toml");
  };
  EXPECT_EQ(parse_stages(with("base")).stages[3].job.start.weights, "stage:base");
  EXPECT_EQ(started_stage("stage:base"), "base");
  EXPECT_EQ(started_stage("runs/base"), "");
  for (const char* who : {"other", "last", "nobody"}) {
    try {
      parse_stages(with(who));
      ADD_FAILURE() << who;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("no stage that is done before; allowed: a path, "
                                          "\"stage:base\" or \"stage:tuned\""));
    }
  }
}

}  // namespace
}  // namespace talaria::launch
