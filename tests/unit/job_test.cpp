// SPDX-License-Identifier: Apache-2.0
// The job file: what is read, and that every bad one is refused in one line with its place.
#include "launch/job.h"

#include <cctype>
#include <filesystem>
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/job_keys.h"
#include "launch/stages.h"

namespace talaria::launch {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// One line a key, so that a case can replace any of them. Line numbers stand at the right.
constexpr const char* kGood = R"([job]
name = "good"                         # 2
kind = "pretrain"                     # 3
seed = 7                              # 4
numerics = "invariant"                # 5
virtual_shards = 4                    # 6
sample_groups = 2                     # 7
[cluster]
launcher = "mpirun"                   # 9
ranks = 8                             # 10
threads_per_rank = 2                  # 11
device = "cpu"                        # 12
max_restarts = 0                      # 13
hosts = ["node1:6", "10.0.0.2:6"]     # 14
launch_agent = "ssh -x"               # 15
memory_gib = 2.5                      # 16
[parallel]
tensor = 2                            # 18
pipeline = 2                          # 19
data = 2                              # 20
schedule = "gpipe"                    # 21
virtual_stages = 1                    # 22
sequence = false                      # 23
zero = false                          # 24
[model]
family = "gpt2"                       # 26
layers = 4                            # 27
hidden = 256                          # 28
heads = 8                             # 29
kv_heads = 8                          # 30
ffn = 512                             # 31
context = 256                         # 32
vocab = 2048                          # 33
[data]
sources = [{ path = "a.tok", weight = 2 }, { path = "b.tok" }]  # 35
tokenizer = "tok"                     # 36
validation = 0.05                     # 37
[train]
steps = 100                           # 39
global_batch = 24                     # 40
micro_batch = 3                       # 41
sequence_length = 128                 # 42
precision = "f32"                     # 43
recompute = false                     # 44
dropout = 0.1                         # 45
eval_every = 10                       # 46
eval_samples = 5                      # 47
[optimizer]
learning_rate = 2e-3                  # 49
min_learning_rate = 1e-4              # 50
warmup_steps = 10                     # 51
decay = "linear"                      # 52
decay_steps = 90                      # 53
beta1 = 0.8                           # 54
beta2 = 0.99                          # 55
eps = 1e-6                            # 56
weight_decay = 0                      # 57
clip = 0.5                            # 58
[checkpoint]
every = 20                            # 60
keep = 2                              # 61
select = "best"                       # 62
[start]
weights = "runs/base"                 # 64
[monitor]
beat_seconds = 0.5                    # 66
start_seconds = 60                    # 67
setup_seconds = 61                    # 68
restore_seconds = 62                  # 69
step_seconds = 63                     # 70
evaluate_seconds = 64                 # 71
save_seconds = 65                     # 72
finish_seconds = 66                   # 73
stopped_seconds = 7                   # 74
stop_grace_seconds = 8                # 75
rollout_seconds = 67                  # 76
score_seconds = 68                    # 77
)";

std::string edited(const std::string& line, const std::string& replacement) {
  std::string text = kGood;
  const std::size_t at = text.find("\n" + line);
  EXPECT_NE(at, std::string::npos) << line;
  const std::size_t end = text.find('\n', at + 1);
  return text.replace(at + 1, end - at - 1, replacement);
}

Job parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_job(ConfigFile::parse(text, "j.toml", overrides));
}

std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

constexpr const char* kLeast = "[job]\nname = 'x'\n[data]\nsources = [{path = 'a.tok'}]\n[train]\n";

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

struct Bad {
  const char* line;  // the line of kGood to replace, by its first letters
  const char* replacement;
  const char* message;  // the whole complaint
};
// Letters and digits of what a case is about, and its number: a name that CTest's lists can hold.
template <class Case>
std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name;
  for (const char* c = info.param.replacement; *c != '\0' && name.size() < 24; ++c) {
    if (std::isalnum(static_cast<unsigned char>(*c)) != 0) name += *c;
  }
  return name + "_" + std::to_string(info.index);
}

class BadJob : public testing::TestWithParam<Bad> {};

TEST_P(BadJob, IsRefusedInOneLine) {
  const Bad& bad = GetParam();
  const std::string message = complaint([&] { parse(edited(bad.line, bad.replacement)); });
  EXPECT_EQ(message, bad.message);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

constexpr const char* kNameRule =
    "allowed: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first, for example name = \"first\"";

INSTANTIATE_TEST_SUITE_P(
    Job, BadJob,
    testing::Values(
        Bad{"name =", "nmae = 'x'",
            "j.toml:2: job.nmae: unknown key, did you mean name?; allowed: kind, name, numerics, "
            "sample_groups, seed or virtual_shards"},
        Bad{"name =", "name = 3", "j.toml:2: job.name: found 3; allowed: a string, in quotes"},
        Bad{"kind =", "kind = 'sft'",
            "j.toml:34: data.files: missing; allowed with kind \"sft\": one or more JSONL files of "
            "conversations, files = [\"data/chat.jsonl\"]"},
        Bad{"kind =", "kind = 'train'",
            "j.toml:3: job.kind: found the string \"train\"; allowed: \"pretrain\", \"sft\", "
            "\"reward\" "
            "or \"ppo\""},
        Bad{"seed =", "seed = -1",
            "j.toml:4: job.seed: found -1; allowed: an integer of 0 or more"},
        Bad{"seed =", "seed = 1.5",
            "j.toml:4: job.seed: found 1.5; allowed: an integer of 0 or more"},
        Bad{"numerics =", "numerics = 'exact'",
            "j.toml:5: job.numerics: found the string \"exact\"; allowed: \"fast\" or "
            "\"invariant\""},
        Bad{"numerics =", "numerics = true",
            "j.toml:5: job.numerics: found true; allowed: \"fast\" or \"invariant\""},
        Bad{"numerics =", "numerics = 'fast'",
            "j.toml:6: job.virtual_shards: found with fast numerics; allowed: with job.numerics = "
            "\"invariant\" only"},
        Bad{"virtual_shards =", "virtual_shards = 3",
            "j.toml:6: job.virtual_shards: found 3; allowed: 1, 2, 4 or 8 (invariant numerics: "
            "powers of two that divide model.heads 8, hidden 256, ffn 512 and "
            "train.sequence_length 128)"},
        Bad{"virtual_shards =", "virtual_shards = 16",
            "j.toml:6: job.virtual_shards: found 16; allowed: 1, 2, 4 or 8 (invariant numerics: "
            "powers of two that divide model.heads 8, hidden 256, ffn 512 and "
            "train.sequence_length 128)"},
        Bad{"virtual_shards =", "virtual_shards = 1",
            "j.toml:18: parallel.tensor: found 2; allowed: 1 (powers of two that divide "
            "job.virtual_shards = 1)"},
        Bad{"sample_groups =", "sample_groups = 16",
            "j.toml:7: job.sample_groups: found 16; allowed: 1, 2, 4 or 8 (invariant numerics: "
            "powers of two that divide train.global_batch 24 / micro_batch 3)"},
        Bad{"sample_groups =", "sample_groups = 1",
            "j.toml:20: parallel.data: found 2; allowed: 1 (powers of two that divide "
            "job.sample_groups = 1)"},
        Bad{"launcher =", "launcher = 'ssh'",
            "j.toml:9: cluster.launcher: found the string \"ssh\"; allowed: \"local\", \"mpirun\" "
            "or "
            "\"slurm\""},
        Bad{"ranks =", "ranks = 4",
            "j.toml:10: cluster.ranks: found 4; allowed: 8 (parallel.tensor 2 x pipeline 2 x data "
            "2)"},
        Bad{"ranks =", "ranks = 0",
            "j.toml:10: cluster.ranks: found 0; allowed: an integer from 1 to 1048576"},
        Bad{"threads_per_rank =", "threads_per_rank = 0",
            "j.toml:11: cluster.threads_per_rank: found 0; allowed: an integer from 1 to 1024"},
        Bad{"device =", "device = 'cuda'",
            "j.toml:12: cluster.device: found the string \"cuda\", which is not available in this "
            "version; allowed: \"cpu\""},
        Bad{"max_restarts =", "max_restarts = -1",
            "j.toml:13: cluster.max_restarts: found -1; allowed: an integer from 0 to 2147483647"},
        Bad{"tensor =", "tensor = 0",
            "j.toml:18: parallel.tensor: found 0; allowed: an integer from 1 to 1048576"},
        Bad{"tensor =", "tensor = 1",
            "j.toml:10: cluster.ranks: found 8; allowed: 4 (parallel.tensor 1 x pipeline 2 x data "
            "2)"},
        Bad{"tensor =", "tensor = '2'",
            "j.toml:18: parallel.tensor: found the string \"2\"; allowed: an integer from 1 to "
            "1048576"},
        Bad{"tensor =", "tensor = 4294967298",
            "j.toml:18: parallel.tensor: found 4294967298; allowed: an integer from 1 to 1048576"},
        Bad{"pipeline =", "pipeline = -2",
            "j.toml:19: parallel.pipeline: found -2; allowed: an integer from 1 to 1048576"},
        Bad{"data =", "data = 1048576",
            "j.toml:20: parallel.data: parallel.tensor 2 x pipeline 2 x data 1048576 is 4194304 "
            "ranks; allowed: at most 1048576"},
        Bad{"schedule =", "schedule = 'interleaved'",
            "j.toml:21: parallel.schedule: found the string \"interleaved\", which is not "
            "available "
            "in this version; allowed: \"gpipe\" or \"1f1b\""},
        Bad{"schedule =", "schedule = '1F1B'",
            "j.toml:21: parallel.schedule: found the string \"1F1B\"; allowed: \"gpipe\" or "
            "\"1f1b\""},
        Bad{"virtual_stages =", "virtual_stages = 2",
            "j.toml:22: parallel.virtual_stages: found 2; allowed: 1"},
        Bad{"sequence =", "sequence = true",
            "j.toml:23: parallel.sequence: found true, which is not available in this version; "
            "allowed: false"},
        Bad{"zero =", "zero = 1", "j.toml:24: parallel.zero: found 1; allowed: true or false"},
        Bad{"family =", "preset = 'gpt2'",
            "j.toml:26: model.preset: found the string \"gpt2\"; allowed: \"gpt2-124m\", "
            "\"gpt2-355m\", \"gpt2-774m\", \"gpt2-1558m\", \"gpt3-125m\", \"gpt3-350m\", "
            "\"gpt3-760m\", \"gpt3-1.3b\", \"gpt3-2.7b\", \"gpt3-6.7b\", \"gpt3-13b\" or "
            "\"gpt3-175b\""},
        Bad{"family =", "family = 'llama'",
            "j.toml:26: model.family: found the string \"llama\"; allowed: \"gpt2\""},
        Bad{"layers =", "layers = 0",
            "j.toml:27: model.layers: found 0; allowed: an integer of 1 or more"},
        Bad{"layers =", "layers = 100000",
            "j.toml:27: model.layers: found 100000; allowed: an integer from 1 to 16384"}),
    case_name<Bad>);

INSTANTIATE_TEST_SUITE_P(
    Model, BadJob,
    testing::Values(
        Bad{"hidden =", "hidden = 9223372036854775807",
            "j.toml:28: model.hidden: found 9223372036854775807; allowed: an integer from 1 to "
            "262144"},
        Bad{"hidden =", "hidden = 250",
            "j.toml:29: model.heads: found 8; allowed: a divisor of hidden (250)"},
        Bad{"heads =", "heads = 7",
            "j.toml:29: model.heads: found 7; allowed: a divisor of hidden (256)"},
        Bad{"kv_heads =", "kv_heads = 4",
            "j.toml:30: model.kv_heads: found 4; allowed: 8 (model.heads: family gpt2 shares no "
            "keys)"},
        Bad{"ffn =", "ffn = -512",
            "j.toml:31: model.ffn: found -512; allowed: an integer of 1 or more"},
        Bad{"context =", "context = 64",
            "j.toml:42: train.sequence_length: found 128; allowed: an integer from 1 to 64 "
            "(model.context)"},
        Bad{"vocab =", "vocab = nan",
            "j.toml:33: model.vocab: found nan; allowed: an integer of 1 or more"},
        Bad{"vocab =", "vocb = 3",
            "j.toml:33: model.vocb: unknown key, did you mean vocab?; allowed: context, family, "
            "ffn, heads, hidden, kv_heads, layers, preset or vocab"},
        Bad{"sources =", "sources = []",
            "j.toml:35: data.sources: found no source; allowed: one or more of { path = \"...\", "
            "weight = above 0, default 1 }"},
        Bad{"sources =", "sources = 'a.tok'",
            "j.toml:35: data.sources: found the string \"a.tok\"; allowed: an array of tables, "
            "[{ ... }, ...]"},
        Bad{"sources =", "sources = ['a.tok']",
            "j.toml:35: data.sources: element 0 is the string \"a.tok\"; allowed: an array of "
            "tables, [{ ... }, ...]"},
        Bad{"sources =", "sources = [{ weight = 1 }]",
            "j.toml:35: data.sources[0].path: missing; allowed: the path of a token file made by "
            "`talaria-worker data prepare`"},
        Bad{"sources =", "sources = [{ path = '' }]",
            "j.toml:35: data.sources[0].path: found \"\"; allowed: the path of a token file made "
            "by "
            "`talaria-worker data prepare`"},
        Bad{"sources =", "sources = [\n{ path = 'a' },\n{ path = 'b', weight = 0 }]",
            "j.toml:37: data.sources[1].weight: found 0; allowed: a number above 0 to 1e+09"},
        Bad{"sources =", "sources = [{ path = 'b', weight = -1.0 }]",
            "j.toml:35: data.sources[0].weight: found -1.0; allowed: a number above 0 to 1e+09"},
        Bad{"sources =", "sources = [{ path = 'b', weight = inf }]",
            "j.toml:35: data.sources[0].weight: found inf; allowed: a number above 0 to 1e+09"},
        Bad{"sources =", "sources = [{ path = 'b', wieght = 1 }]",
            "j.toml:35: data.sources[0].wieght: unknown key, did you mean weight?; allowed: path "
            "or "
            "weight"},
        Bad{"sources =", "",
            "j.toml:34: data.sources: missing; allowed: one or more token files made by "
            "`talaria-worker data prepare`, sources = [{ path = \"data/text.tok\", weight = 1.0 "
            "}]"},
        Bad{"tokenizer =", "tokenizer = ['t']",
            "j.toml:36: data.tokenizer: found an array; allowed: a string, in quotes"},
        Bad{"validation =", "validation = 1.0",
            "j.toml:37: data.validation: found 1.0; allowed: a number from 0 to below 1"}),
    case_name<Bad>);

INSTANTIATE_TEST_SUITE_P(
    Train, BadJob,
    testing::Values(
        Bad{"steps =", "tokens = 1\nsteps = 1",
            "j.toml:39: train.tokens: found beside train.steps; allowed: exactly one of "
            "train.steps "
            "and train.tokens"},
        Bad{"steps =", "",
            "j.toml:38: train.steps: missing; allowed: exactly one of train.steps and "
            "train.tokens"},
        Bad{"steps =", "steps = 0",
            "j.toml:39: train.steps: found 0; allowed: an integer from 1 to 4294967295"},
        Bad{"steps =", "steps = 1e3",
            "j.toml:39: train.steps: found 1000.0; allowed: an integer from 1 to 4294967295"},
        Bad{"steps =", "steps = 4294967296",
            "j.toml:39: train.steps: found 4294967296; allowed: an integer from 1 to 4294967295"},
        Bad{"steps =", "tokens = 9223372036854775807",
            "j.toml:39: train.tokens: found 9223372036854775807, which is 3002399751580331 steps; "
            "allowed: at most 4294967295 steps"},
        Bad{"global_batch =", "global_batch = 25",
            "j.toml:40: train.global_batch: found 25; allowed: a multiple of 6 (parallel.data 2 x "
            "train.micro_batch 3)"},
        Bad{"micro_batch =", "micro_batch = 5",
            "j.toml:40: train.global_batch: found 24; allowed: a multiple of 10 (parallel.data 2 x "
            "train.micro_batch 5)"},
        Bad{"micro_batch =", "micro_batch = -1",
            "j.toml:41: train.micro_batch: found -1; allowed: an integer from 1 to 2147483647"},
        Bad{"sequence_length =", "sequence_length = 257",
            "j.toml:42: train.sequence_length: found 257; allowed: an integer from 1 to 256 "
            "(model.context)"},
        Bad{"precision =", "precision = 'bf16'",
            "j.toml:43: train.precision: found the string \"bf16\", which is not available in this "
            "version; allowed: \"f32\""},
        Bad{"recompute =", "recompute = true",
            "j.toml:44: train.recompute: found true, which is not available in this version; "
            "allowed: false"},
        Bad{"dropout =", "dropout = 1",
            "j.toml:45: train.dropout: found 1; allowed: a number from 0 to below 1"},
        Bad{"dropout =", "dropout = -0.1",
            "j.toml:45: train.dropout: found -0.1; allowed: a number from 0 to below 1"},
        Bad{"dropout =", "dropout = 0.99999999999",
            "j.toml:45: train.dropout: found 0.99999999999, which rounds to 1 in single precision; "
            "allowed: a number from 0 to below 1"},
        Bad{"eval_every =", "eval_every = -1",
            "j.toml:46: train.eval_every: found -1; allowed: an integer of 0 or more"},
        Bad{"eval_samples =", "eval_samples = 0",
            "j.toml:47: train.eval_samples: found 0; allowed: an integer from 1 to 2147483647"},
        Bad{"learning_rate =", "learning_rate = 0",
            "j.toml:49: optimizer.learning_rate: found 0; allowed: a number above 0 to 1000"},
        Bad{"learning_rate =", "learning_rate = nan",
            "j.toml:49: optimizer.learning_rate: found nan; allowed: a number above 0 to 1000"},
        Bad{"learning_rate =", "learning_rate = -inf",
            "j.toml:49: optimizer.learning_rate: found -inf; allowed: a number above 0 to 1000"},
        Bad{"min_learning_rate =", "min_learning_rate = 0.1",
            "j.toml:50: optimizer.min_learning_rate: found 0.1; allowed: a number from 0 to 0.002 "
            "(optimizer.learning_rate)"},
        Bad{"warmup_steps =", "warmup_steps = 90",
            "j.toml:51: optimizer.warmup_steps: found 90; allowed: an integer from 0 to 89 (less "
            "than optimizer.decay_steps)"},
        Bad{"decay =", "decay = 'cos'",
            "j.toml:52: optimizer.decay: found the string \"cos\"; allowed: \"cosine\", \"linear\" "
            "or \"constant\""},
        Bad{"decay_steps =", "decay_steps = 0",
            "j.toml:53: optimizer.decay_steps: found 0; allowed: an integer of 1 or more"},
        Bad{"beta1 =", "beta1 = 1.0",
            "j.toml:54: optimizer.beta1: found 1.0; allowed: a number from 0 to below 1"},
        Bad{"beta2 =", "beta2 = 2",
            "j.toml:55: optimizer.beta2: found 2; allowed: a number from 0 to below 1"},
        Bad{"eps =", "eps = 0",
            "j.toml:56: optimizer.eps: found 0; allowed: a number above 0 to 1"},
        Bad{"eps =", "eps = 1e-60",
            "j.toml:56: optimizer.eps: found 1e-60, which rounds to 0 in single precision; "
            "allowed: "
            "a number above 0 to 1"},
        Bad{"weight_decay =", "weight_decay = -1",
            "j.toml:57: optimizer.weight_decay: found -1; allowed: a number from 0 to 1000"},
        Bad{"clip =", "clip = inf",
            "j.toml:58: optimizer.clip: found inf; allowed: a number from 0 to 1e+09"},
        Bad{"every =", "every = -20",
            "j.toml:60: checkpoint.every: found -20; allowed: an integer of 0 or more"},
        Bad{"keep =", "keep = 0",
            "j.toml:61: checkpoint.keep: found 0; allowed: an integer from 1 to 2147483647"},
        Bad{"keep =", "[[stage]]\nname = 'x'",
            "j.toml:61: stage: this file has job stages ([[stage]]), which `talaria run` runs one "
            "after the other; allowed here: one job stage, its tables at the top level"},
        Bad{"[checkpoint]", "[checkpoints]",
            "j.toml:59: checkpoints: unknown key, did you mean checkpoint?; allowed: checkpoint, "
            "cluster, data, job, mix, model, monitor, optimizer, parallel, ppo, reward, rewards, "
            "start or "
            "train"},
        Bad{"keep =", "keep = 2\n[train.inner]\nx = 1",
            "j.toml:62: train.inner: unknown key; allowed: dropout, eval_every, eval_samples, "
            "global_batch, micro_batch, precision, recompute, sequence_length, steps or tokens"}),
    case_name<Bad>);

constexpr const char* kHostRule =
    "allowed: \"name\" or \"name:slots\", a host name or IPv4 address of A-Z a-z 0-9 . -, a letter "
    "or digit first, and 1 or more slots";

TEST(JobFile, HostsAreNamesAndSlots) {
  const auto slots = [](const std::string& hosts) {
    std::string text;
    for (const HostSlots& host : host_slots(parse(edited("hosts =", "hosts = " + hosts)).cluster)) {
      text += fmt::format("{}={} ", host.name, host.slots);
    }
    return text;
  };
  EXPECT_EQ(slots("['a:8']"), "a=8 ");
  EXPECT_EQ(slots("['a:1', 'b.c-d:1048576']"), "a=1 b.c-d=1048576 ");
  EXPECT_EQ(slots("['a', 'b', '10.0.0.1']"), "a=3 b=3 10.0.0.1=2 ");
  EXPECT_EQ(slots("[]"), "");
  EXPECT_EQ(parse(kGood, {"cluster.launcher=local", "cluster.hosts=[]", "cluster.launch_agent=ssh"})
                .cluster.hosts.size(),
            0U);
}

TEST(JobFile, HostileHostsAreRefused) {
  for (const std::string host : {"",
                                 ":4",
                                 "-oProxyCommand=id",
                                 "a b",
                                 "a:0",
                                 "a:-1",
                                 "a:",
                                 "a:x",
                                 "a:4x",
                                 "a:99999999999",
                                 "a:1:2",
                                 "a,b",
                                 "a;id",
                                 "$(id)",
                                 "`id`",
                                 "é",
                                 "../a",
                                 ".a",
                                 "a/b",
                                 "[::1]",
                                 "a\\nb",
                                 "a\\u0000",
                                 "user@a"}) {
    EXPECT_THAT(complaint([&] { parse(edited("hosts =", "hosts = [\"b:9\", \"" + host + "\"]")); }),
                testing::AllOf(StartsWith("j.toml:14: cluster.hosts: element 1 is the string \""),
                               HasSubstr(kHostRule)));
  }
  const std::string longest(253, 'x');
  EXPECT_NO_THROW(parse(edited("hosts =", "hosts = ['" + longest + "']")));
  EXPECT_THROW(parse(edited("hosts =", "hosts = ['" + longest + "x']")), UsageError);
  for (const std::string agent : {"", "-x", "ssh;id", "$(id)", "ssh  x", " ssh", "ssh ", "ssh|x",
                                  "ssh\\n", "~/ssh", "'ssh'", "ssh &", "a*"}) {
    EXPECT_THAT(
        complaint([&] { parse(edited("launch_agent =", "launch_agent = \"" + agent + "\"")); }),
        StartsWith("j.toml:15: cluster.launch_agent: found the string \""))
        << agent;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cluster, BadJob,
    testing::Values(
        Bad{"launcher =", "launcher = 'local'",
            "j.toml:14: cluster.hosts: found with launcher = \"local\"; allowed: with launcher = "
            "\"mpirun\", or hosts = []"},
        Bad{"hosts =", "hosts = 'node1'",
            "j.toml:14: cluster.hosts: found the string \"node1\"; allowed: an array of strings, "
            "[\"...\", ...]"},
        Bad{"hosts =", "hosts = ['node1', 4]",
            "j.toml:14: cluster.hosts: element 1 is 4; allowed: an array of strings, [\"...\", "
            "...]"},
        Bad{"hosts =", "hosts = ['a:4', 'b:3']",
            "j.toml:14: cluster.hosts: 7 slots for 8 ranks; allowed: 8 slots or more"},
        Bad{"hosts =", "hosts = ['a:4', 'b']",
            "j.toml:14: cluster.hosts: 1 of 2 hosts have slots; allowed: all of them, or none"},
        Bad{"hosts =", "hosts = ['a:4', 'a:4']",
            "j.toml:14: cluster.hosts: element 1, \"a\", is named before; allowed: each host once, "
            "with all its slots"},
        Bad{"hosts =", "hosts = ['a','b','c','d','e','f','g','h','i']",
            "j.toml:14: cluster.hosts: 9 hosts for 8 ranks; allowed: at most 8 hosts"},
        Bad{"hosts =", "hosts = ['$(id)']",
            "j.toml:14: cluster.hosts: element 0 is the string \"$(id)\"; allowed: \"name\" or "
            "\"name:slots\", a host name or IPv4 address of A-Z a-z 0-9 . -, a letter or digit "
            "first, and 1 or more slots"},
        Bad{"memory_gib =", "memory_gib = -1",
            "j.toml:16: cluster.memory_gib: found -1; allowed: a number from 0 to 1e+06"},
        Bad{"beat_seconds =", "beat_seconds = 0.01",
            "j.toml:66: monitor.beat_seconds: found 0.01; allowed: 0, or 0.05 or more"},
        Bad{"beat_seconds =", "beat_seconds = 61",
            "j.toml:66: monitor.beat_seconds: found 61; allowed: a number from 0 to 60"},
        Bad{"step_seconds =", "step_seconds = 0.9",
            "j.toml:70: monitor.step_seconds: found 0.9; allowed: 0, or 1 or more (two beats of "
            "0.5 s, monitor.beat_seconds)"},
        Bad{"save_seconds =", "save_seconds = inf",
            "j.toml:72: monitor.save_seconds: found inf; allowed: a number from 0 to 1e+07"},
        Bad{"stopped_seconds =", "stopped_seconds = 0",
            "j.toml:74: monitor.stopped_seconds: found 0; allowed: a number above 0 to 1e+07"}),
    case_name<Bad>);

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

TEST(JobFile, NamesOfRunsAreFileNames) {
  for (const std::string name : {"", ".", "-x", "a b", "a/b", "../x", "a\\n", "é", "a\\u0000b"}) {
    EXPECT_THAT(complaint([&] { parse(edited("name =", "name = \"" + name + "\"")); }),
                testing::AllOf(StartsWith("j.toml:2: job.name: found the string \""),
                               HasSubstr(kNameRule)));
  }
  const std::string longest(64, 'x');
  EXPECT_EQ(parse(kGood, {"job.name=" + longest}).job.name, longest);
  EXPECT_THAT(complaint([&] { parse(kGood, {"job.name=" + longest + "x"}); }),
              StartsWith("--set job.name: job.name: found the string \"xxx"));
  EXPECT_EQ(complaint([] { parse(""); }), std::string("j.toml:1: job.name: missing; ") + kNameRule);
  EXPECT_EQ(complaint([] { parse("\n[job]\nseed=1"); }),
            std::string("j.toml:2: job.name: missing; ") + kNameRule);
}

TEST(JobFile, LayoutsThatDoNotFitAreRefusedWithTheLegalValues) {
  const std::string text = std::string(kLeast) + "steps = 5\n";
  const auto message = [&](const std::vector<std::string>& overrides) {
    return complaint([&] { parse(text, overrides); });
  };
  EXPECT_EQ(message({"parallel.tensor=5"}),
            "--set parallel.tensor: parallel.tensor: found 5; allowed: 1, 2 or 4 (divisors of "
            "model.heads 12, hidden 768, ffn 3072 and train.sequence_length 1024)");
  EXPECT_EQ(
      message({"parallel.pipeline=14"}),
      "--set parallel.pipeline: parallel.pipeline: found 14; allowed: an integer from 1 to 13 "
      "(model.layers + 1)");
  EXPECT_EQ(message({"parallel.pipeline=13"}), "(nothing was refused)");
  EXPECT_EQ(message({"parallel.data=3"}),
            "j.toml:5: train.global_batch: found 8; allowed: a multiple of 3 (parallel.data 3 x "
            "train.micro_batch 1)");
  EXPECT_EQ(message({"job.numerics=invariant", "parallel.tensor=8"}),
            "--set parallel.tensor: parallel.tensor: found 8; allowed: 1, 2 or 4 (invariant "
            "numerics: powers of two that divide model.heads 12, hidden 768, ffn 3072 and "
            "train.sequence_length 1024)");
  EXPECT_EQ(message({"job.numerics=invariant", "train.global_batch=12", "parallel.data=3"}),
            "--set parallel.data: parallel.data: found 3; allowed: 1, 2 or 4 (invariant numerics: "
            "powers of two that divide train.global_batch 12 / micro_batch 1)");
  EXPECT_THAT(
      message({"train.steps=4294967295", "train.global_batch=2147483647", "model.context=1048576"}),
      HasSubstr("--set train.steps: train.steps: 4294967295 steps of 2251799812636672 tokens "
                "overflow 64 bits"));
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
