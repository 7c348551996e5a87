// SPDX-License-Identifier: Apache-2.0
// Bad job files: each is refused in one line with its place and what is allowed.
#include <cctype>
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

}  // namespace
}  // namespace talaria::launch
