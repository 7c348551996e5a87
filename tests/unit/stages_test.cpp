// SPDX-License-Identifier: Apache-2.0
// [[stage]]: what a stage's job file is made of, what it runs after, and that every bad entry is
// refused in one line with its place.
#include "launch/stages.h"

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "launch/job_keys.h"

namespace talaria::launch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

constexpr const char* kGood = R"([job]
name = "two"                          # 2
[data]
sources = [{ path = "a.tok" }, { path = "b.tok" }]  # 4
[train]
steps = 5                             # 6
global_batch = 4                      # 7
[[stage]]
name = "small"                        # 9
[stage.model]
layers = 2                            # 11
[stage.train]
dropout = 0.1                         # 13
[[stage]]
name = "large"                        # 15
kind = "pretrain"                     # 16
after = ["small"]                     # 17
model = { layers = 4, hidden = 96 }   # 18
data.sources = [{ path = "c.tok" }]   # 19
train.steps = 7                       # 20
optimizer.clip = 0.5                  # 21
[[stage]]
name = "other"                        # 23
after = []                            # 24
)";

std::string edited(const std::string& line, const std::string& replacement) {
  std::string text = kGood;
  const std::size_t at = text.find("\n" + line);
  EXPECT_NE(at, std::string::npos) << line;
  const std::size_t end = text.find('\n', at + 1);
  return text.replace(at + 1, end - at - 1, replacement);
}

StagedJob parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_stages(ConfigFile::parse(text, "j.toml", overrides));
}

std::string complaint(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

TEST(Stages, OverrideTheTopLevelKeyByKey) {
  const StagedJob job = parse(kGood);
  EXPECT_EQ(job.name, "two");
  EXPECT_TRUE(job.staged);
  ASSERT_EQ(job.stages.size(), 3U);
  const Job& small = job.stages[0].job;
  EXPECT_EQ(job.stages[0].name, "small");
  EXPECT_EQ(small.job.name, "two");
  EXPECT_EQ(small.model.layers, 2);
  EXPECT_EQ(small.model.hidden, 768);
  EXPECT_EQ(small.train.steps, 5);
  EXPECT_EQ(small.train.global_batch, 4);
  EXPECT_EQ(small.train.dropout, 0.1);
  EXPECT_EQ(small.data.sources.size(), 2U);
  const Job& large = job.stages[1].job;
  EXPECT_EQ(large.model.layers, 4);
  EXPECT_EQ(large.model.hidden, 96);
  EXPECT_EQ(large.train.steps, 7);
  EXPECT_EQ(large.train.global_batch, 4);
  EXPECT_EQ(large.train.dropout, 0.0);
  EXPECT_EQ(large.optimizer.clip, 0.5);
  ASSERT_EQ(large.data.sources.size(), 1U);
  EXPECT_EQ(large.data.sources[0].path, "c.tok");
  EXPECT_EQ(job.stages[2].job.model.layers, 12);
}

TEST(Stages, RunAfterTheOneAboveUnlessTheySayOtherwise) {
  const StagedJob job = parse(kGood);
  EXPECT_THAT(job.stages[0].after, IsEmpty());
  EXPECT_THAT(job.stages[1].after, ElementsAre("small"));
  EXPECT_THAT(job.stages[2].after, IsEmpty());
  const auto after = [](const std::string& line) {
    return parse(edited("after = []", line)).stages[2].after;
  };
  EXPECT_THAT(after(""), ElementsAre("large"));
  EXPECT_THAT(after("after = 'small'"), ElementsAre("small"));
  EXPECT_THAT(after("after = ['large', 'small']"), ElementsAre("large", "small"));
}

TEST(Stages, MayHaveGatesOnWhatIsDoneBefore) {
  EXPECT_THAT(parse(kGood).stages[1].gates, IsEmpty());
  const auto gates = [](const std::string& line) {
    std::vector<std::string> words;
    const StagedJob job = parse(edited("after = []", line));
    for (const Gate& gate : job.stages[2].gates) {
      words.push_back(describe(gate));
    }
    return words;
  };
  EXPECT_THAT(gates("gate = 'large.loss<3.5'"), ElementsAre("large.loss < 3.5"));
  // Through `large`, `small` is done before, too.
  EXPECT_THAT(gates("gate = ['small.loss < 4', 'large.validation_loss <= 3']"),
              ElementsAre("small.loss < 4", "large.validation_loss <= 3"));
  EXPECT_THAT(gates("gate = []"), IsEmpty());
  EXPECT_EQ(parse(edited("after = []", "gate = 'large.loss < 3'")).stages[2].toml.find("gate"),
            std::string::npos)
      << "a gate is the graph's matter, not the stage's own";
}

TEST(Stages, AFileWithoutThemIsOne) {
  const StagedJob job =
      parse("[job]\nname = 'x'\n[data]\nsources = [{path = 'a.tok'}]\n[train]\nsteps = 5\n");
  EXPECT_FALSE(job.staged);
  EXPECT_EQ(job.name, "x");
  ASSERT_EQ(job.stages.size(), 1U);
  EXPECT_EQ(job.stages[0].name, "x");
  EXPECT_THAT(job.stages[0].after, IsEmpty());
  EXPECT_EQ(job.stages[0].job.train.steps, 5);
}

TEST(Stages, TheirOwnFilesLeaveOpenWhatTheFirstStartFixes) {
  const StagedJob plain =
      parse("[job]\nname = 'x'\n[data]\nsources = [{path = 'a.tok'}]\n[train]\nsteps = 5\n",
            {"train.steps=7"});
  for (const StagedJob& job : {plain, parse(kGood, {"train.steps=11"})}) {
    for (const Stage& stage : job.stages) {
      EXPECT_EQ(stage.toml.find("decay_steps"), std::string::npos) << stage.toml;
      EXPECT_NE(stage.job.effective_toml.find("decay_steps"), std::string::npos);
      const Job again = parse_job(ConfigFile::parse(stage.toml, "own.toml"));
      EXPECT_EQ(again.effective_toml, stage.job.effective_toml);
    }
  }
}

TEST(Stages, EachHasAnEffectiveFileThatGivesItsJob) {
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{}, {"job.numerics=invariant", "train.steps=11"}}) {
    for (const Stage& stage : parse(kGood, overrides).stages) {
      const Job again = parse_job(ConfigFile::parse(stage.job.effective_toml, "e.toml"));
      EXPECT_EQ(again.effective_toml, stage.job.effective_toml);
      for (const JobKey& key : job_keys()) {
        EXPECT_EQ(show(key, again), show(key, stage.job)) << key.name;
      }
      EXPECT_EQ(show(again.data.sources), show(stage.job.data.sources));
    }
  }
}

TEST(Stages, AnOverrideCountsForAllAndSurvivesTheEffectiveFile) {
  const std::vector<std::string> overrides = {"train.steps=9", "data.sources=[{path='z'}]"};
  const ConfigFile file = ConfigFile::parse(kGood, "j.toml", overrides);
  for (const StagedJob& job :
       {parse_stages(file), parse_stages(ConfigFile::parse(file.to_toml(), "again.toml"))}) {
    for (const Stage& stage : job.stages) {
      EXPECT_EQ(stage.job.train.steps, 9) << stage.name;
      ASSERT_EQ(stage.job.data.sources.size(), 1U);
      EXPECT_EQ(stage.job.data.sources[0].path, "z");
    }
    EXPECT_EQ(job.stages[0].job.train.dropout, 0.1);
  }
  EXPECT_EQ(complaint(kGood, {"train.dropout=7"}),
            "--set train.dropout: train.dropout: found 7; allowed: a number from 0 to below 1 (in "
            "stage small)");
  EXPECT_EQ(complaint(kGood, {"stage.train.steps=7"}),
            "--set stage.train.steps: stage is an array; allowed: a key of a table");
}

TEST(Stages, OneCanBeReadByItself) {
  const auto read = [](const std::string& text, const std::string& stage) -> std::string {
    try {
      const ConfigFile file = stage_file(ConfigFile::parse(text, "j.toml", {"job.seed=3"}), stage);
      const Job job = parse_job(file);
      EXPECT_EQ(job.job.seed, 3U);
      return fmt::format("{} layers", job.model.layers);
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(read(kGood, "large"), "4 layers");
  EXPECT_EQ(read(kGood, "$(id)"),
            "--stage \"$(id)\": no such stage; allowed: small, large or other");
  EXPECT_THAT(read(kGood, ""), StartsWith("j.toml:8: stage: this file has job stages"));
  const std::string plain = "[job]\nname='x'\n[data]\nsources=[{path='a'}]\n[train]\nsteps=5\n";
  EXPECT_EQ(read(plain, ""), "12 layers");
  EXPECT_EQ(read(plain, "x"), "--stage \"x\": the job file has no [[stage]]; allowed: no --stage");
}

struct Bad {
  const char* line;
  const char* replacement;
  const char* message;
};
class BadStage : public testing::TestWithParam<Bad> {};

TEST_P(BadStage, IsRefusedInOneLine) {
  const Bad& bad = GetParam();
  EXPECT_EQ(complaint(edited(bad.line, bad.replacement)), bad.message);
}

constexpr const char* kNoName =
    "j.toml:14: stage[1].name: missing; allowed: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit "
    "first, for example name = \"first\"";

INSTANTIATE_TEST_SUITE_P(
    Stages, BadStage,
    testing::Values(
        Bad{"name = \"large\"", "", kNoName},
        Bad{"name = \"large\"", "name = 'small'",
            "j.toml:15: stage[1].name: found the string \"small\", which names a stage above; "
            "allowed: a name of its own"},
        Bad{"name = \"large\"", "name = '../x'",
            "j.toml:15: stage[1].name: found the string \"../x\"; allowed: 1 to 64 of A-Z a-z 0-9 "
            ". _ -, a letter or digit first, for example name = \"first\""},
        Bad{"name = \"large\"", "name = 'coordinator'",
            "j.toml:15: stage[1].name: found the string \"coordinator\", which the run directory "
            "needs for itself; allowed: another name"},
        Bad{"name = \"large\"", "name = 'attempt-001'",
            "j.toml:15: stage[1].name: found the string \"attempt-001\", which the run directory "
            "needs for itself; allowed: another name"},
        Bad{"name = \"large\"", "name = 7",
            "j.toml:15: stage[1].name: found 7; allowed: a string, in quotes"},
        Bad{"kind =", "kind = 'sft'",
            "j.toml:3: data.files: missing; allowed with kind \"sft\": one or more JSONL files of "
            "conversations, files = [\"data/chat.jsonl\"] (in stage large)"},
        Bad{"kind =", "gate = { validation_loss = 3 }",
            "j.toml:16: stage[1].gate: found a table; allowed: a string or an array of strings, "
            "[\"...\", ...]"},
        Bad{"kind =", "gate = [['small.loss < 3']]",
            "j.toml:16: stage[1].gate: element 0 is an array; allowed: a string or an array of "
            "strings, [\"...\", ...]"},
        Bad{"kind =", "gate = 'small.los < 3'",
            "j.toml:16: stage[1].gate: found the string \"small.los < 3\", but small (pretrain) "
            "reports no \"los\", did you mean loss?; allowed: small.validation_bits_per_byte, "
            "small.loss, small.validation_loss, small.grad_norm, small.learning_rate, "
            "small.tokens, small.step_seconds, small.mfu or small.tokens_per_second"},
        Bad{"kind =", "gate = ['small.loss < 3', 'large.loss < 3']",
            "j.toml:16: stage[1].gate: found the string \"large.loss < 3\", and \"large\" is no "
            "stage that is done before; allowed: small"},
        Bad{"after = []", "after = []\ngate = 'small.loss < 3'",
            "j.toml:25: stage[2].gate: found the string \"small.loss < 3\", but no stage is done "
            "before this one; allowed: no gate"},
        Bad{"kind =", "job.name = 'x'",
            "j.toml:16: stage[1].job.name: found in a stage; allowed: at the top level, for all "
            "stages"},
        Bad{"kind =", "job.kind = 'pretrain'",
            "j.toml:16: stage[1].job.kind: found in a stage's [job]; allowed: kind beside the "
            "stage's name"},
        Bad{"kind =", "knd = 'pretrain'",
            "j.toml:16: stage[1].knd: unknown key, did you mean kind?; allowed: after, checkpoint, "
            "cluster, data, gate, job, kind, mix, model, monitor, name, optimizer, parallel, ppo, "
            "reward, rewards, start or train"},
        Bad{"after = [\"small\"]", "after = 'large'",
            "j.toml:17: stage[1].after: found the string \"large\", the stage itself; allowed: "
            "stages above, \"small\""},
        Bad{"after = [\"small\"]", "after = ['other']",
            "j.toml:17: stage[1].after: found the string \"other\", no stage above; allowed: "
            "stages above, \"small\""},
        Bad{"after = [\"small\"]", "after = ['smal']",
            "j.toml:17: stage[1].after: found the string \"smal\", no stage above, did you mean "
            "small?; allowed: stages above, \"small\""},
        Bad{"after = [\"small\"]", "after = ['small', 'small']",
            "j.toml:17: stage[1].after: found the string \"small\", twice; allowed: stages above, "
            "\"small\""},
        Bad{"after = [\"small\"]", "after = 3",
            "j.toml:17: stage[1].after: found 3; allowed: a string or an array of strings, "
            "[\"...\", ...]"},
        Bad{"name = \"small\"", "name = 'small'\nafter = 'large'",
            "j.toml:10: stage[0].after: found the string \"large\", no stage above; allowed: none, "
            "this is the first stage"},
        Bad{"layers = 2", "layers = 0",
            "j.toml:11: model.layers: found 0; allowed: an integer of 1 or more (in stage small)"},
        Bad{"model =", "model = 3",
            "j.toml:18: stage[1].model: found 3; allowed: a table, [stage[1].model]"},
        Bad{"model =", "model = { layrs = 4 }",
            "j.toml:18: model.layrs: unknown key, did you mean layers?; allowed: context, family, "
            "ffn, heads, hidden, kv_heads, layers, preset or vocab (in stage large)"},
        Bad{"data.sources =", "data.sources = [\n{ path = 3 }]",
            "j.toml:20: data.sources[0].path: found 3; allowed: a string, in quotes (in stage "
            "large)"},
        Bad{"train.steps =", "parallel.data = 3",
            "j.toml:7: train.global_batch: found 4; allowed: a multiple of 3 (parallel.data 3 x "
            "train.micro_batch 1) (in stage large)"},
        Bad{"steps = 5", "steps = 0",
            "j.toml:6: train.steps: found 0; allowed: an integer from 1 to 4294967295 (in stage "
            "small)"}));

TEST(Stages, AreAtLeastOneAndNotTooMany) {
  EXPECT_EQ(complaint("stage = []"),
            "j.toml:1: stage: found 0 stages; allowed: 1 to 64, each a [[stage]]");
  EXPECT_EQ(complaint("stage = 3"),
            "j.toml:1: stage: found 3; allowed: an array of tables, [{ ... }, ...]");
  EXPECT_EQ(complaint("[stage]\nname = 'x'"),
            "j.toml:1: stage: found a table; allowed: an array of tables, [{ ... }, ...]");
  std::string many;
  for (int i = 0; i < 65; ++i) many += "[[stage]]\n";
  EXPECT_THAT(complaint(many), StartsWith("j.toml:1: stage: found 65 stages; allowed: 1 to 64"));
}

}  // namespace
}  // namespace talaria::launch
