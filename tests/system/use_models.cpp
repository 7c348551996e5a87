// SPDX-License-Identifier: Apache-2.0
#include "tests/system/use_models.h"

#include <fstream>

#include <boost/json.hpp>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// A long context, which only the first positions of are trained: an answer may be long.
constexpr const char* kModel = R"(
[model]
layers = 2
hidden = 64
heads = 4
context = 2048
vocab = 512

[train]
steps = 20
global_batch = 8
sequence_length = 96
eval_samples = 100000
)";

}  // namespace

const std::vector<std::pair<std::string, std::string>> kTalk = {
    {"What is red?", "apple"},
    {"What is yellow?", "a lemon"},
    {"What is hot?",
     "caf\xC3\xA9 \xE2\x80\x93 \xE2\x82\xAC"
     "2"},
    {"What is bad?", "\x1b[2Jx\ay"}};

UseModels::UseModels(const std::string& name)
    : jobs_(fs::temp_directory_path() / fmt::format("talaria_{}_{}", name, ::getpid()), kModel) {
  std::string talk;
  std::string pairs;
  std::string questions;
  for (int i = 0; i < 40; ++i) {
    for (const auto& [asked, said] : kTalk) {
      const auto line = [](const json::object& object) { return json::serialize(object) + "\n"; };
      talk += line({{"id", i}, {"prompt", asked}, {"completion", said}});
      const char* other = i % 2 == 0 ? "an old stone" : "dust";
      pairs += line({{"id", i}, {"prompt", asked}, {"chosen", said}, {"rejected", other}});
      if (i == 0) questions += line({{"prompt", asked}, {"answer", said}});
    }
  }
  write("questions.jsonl", questions);
  write("talk.jsonl", talk);
  write("pairs.jsonl", pairs);
}

std::string UseModels::run(const std::string& name) const {
  std::string run = path("runs/" + name);
  if (fs::exists(run)) return run;
  if (name == "pretrain") {
    train(name, name,
          fmt::format("validation = 0.1\nsources = [{{ path = \"{}\" }}]\n",
                      path("data/headers.tok")),
          40);
  } else if (name == "sft") {
    train(name, name, fmt::format("validation = 0.1\nfiles = [\"{}\"]\n", path("talk.jsonl")), 120);
  } else if (name == "reward") {
    train(name, name, fmt::format("validation = 0.1\nfiles = [\"{}\"]\n", path("pairs.jsonl")), 40);
  }
  return run;
}

UseModels::~UseModels() { fs::remove_all(jobs_.path()); }

std::string UseModels::write(const std::string& name, const std::string& content) const {
  std::ofstream(path(name), std::ios::binary) << content;
  return path(name);
}

std::string UseModels::read(const std::string& name) const { return read_file(path(name)); }

void UseModels::train(const std::string& name, const std::string& kind, const std::string& data,
                      int steps, const std::string& tokenizer) const {
  const std::string job =
      write(name + ".toml",
            fmt::format("[job]\nname = \"{}\"\nkind = \"{}\"\nseed = 3\nnumerics = \"invariant\"\n"
                        "virtual_shards = 2\nsample_groups = 1\n{}\n[data]\ntokenizer = \"{}\"\n"
                        "{}\n[optimizer]\nlearning_rate = 3e-3\nwarmup_steps = 5\n",
                        name, kind, kModel, path(tokenizer), data));
  const ChildResult result = run_child(
      {"mpirun", "-n", "1", "--oversubscribe", "--bind-to", "none",
       std::string(TALARIA_BIN_DIR) + "/talaria-worker", "--job", job, "--run-dir",
       path("runs/" + name), "--progress", "none", "--set", fmt::format("train.steps={}", steps)},
      120);
  if (result.exit_code != 0) fail("{}: {}", name, result.output);
}

}  // namespace talaria::worker
