// SPDX-License-Identifier: Apache-2.0
#include "tests/system/recipe_jobs.h"

#include <fstream>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace talaria::worker {
namespace {

class Words {
 public:
  std::string next(int fewest, int most) {
    static const std::vector<std::string> kAll = {"file", "reads", "a",   "layer", "of",  "tokens",
                                                  "and",  "the",   "row", "waits", "for", "names"};
    std::string text;
    for (int left = fewest + number(most - fewest + 1); left > 0; --left) {
      text += (text.empty() ? "" : " ") + kAll[static_cast<std::size_t>(number(12))];
    }
    return text;
  }
  // 0 .. below - 1; the same with every library.
  int number(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

 private:
  std::mt19937 random_{7};
};

}  // namespace

const char* const kRecipeModel = R"(
[model]
layers = 2
hidden = 32
heads = 4
context = 128
vocab = 512

[train]
steps = 12
global_batch = 8
sequence_length = 128
dropout = 0.1
eval_every = 6
eval_samples = 16
)";

void write_conversations(const std::filesystem::path& file, int count) {
  Words words;
  std::ofstream out(file);
  for (int i = 0; i < count; ++i) {
    out << "{\"messages\": [";
    for (int turn = words.number(3); turn >= 0; --turn) {
      out << fmt::format(
          R"({{"role": "user", "content": "{}"}}, {{"role": "assistant", "content": "{}"}}{})",
          words.next(1, 6), words.next(1, 5), turn > 0 ? ", " : "");
    }
    out << "]}\n";
  }
}

void write_comparisons(const std::filesystem::path& file, int count) {
  Words words;
  std::ofstream out(file);
  for (int i = 0; i < count; ++i) {
    // The number keeps any two answers apart.
    const auto answer = [&](int k) { return fmt::format("{} {}", words.next(1, 5), k); };
    if (i % 3 == 0) {
      out << fmt::format(
          R"({{"prompt": "{}", "answers": ["{}", "{}", "{}", "{}"], "ranks": [{}, 2, 2, {}]}})",
          words.next(1, 6), answer(0), answer(1), answer(2), answer(3), 1 + words.number(3),
          3 + words.number(2));
    } else {
      out << fmt::format(R"({{"prompt": "{}", "chosen": "{}", "rejected": "{}"}})",
                         words.next(1, 6), answer(0), answer(1));
    }
    out << "\n";
  }
}

std::vector<std::string> recipe_keys(const JobFolder& jobs, const std::string& kind) {
  const bool is_sft = kind == "sft";
  std::vector<std::string> set = {
      fmt::format("job.kind=\"{}\"", kind),
      fmt::format("data.files=[\"{}\"]",
                  (jobs.path() / (is_sft ? "chat.jsonl" : "pairs.jsonl")).string()),
      "data.template=\"hh\"",
      "data.validation=0.2",
      "checkpoint.every=4",
      "checkpoint.keep=10",
  };
  if (is_sft) {
    set.insert(set.end(), {"mix.rows=4", "mix.coefficient=0.5"});
  } else {
    set.emplace_back("train.sequence_length=256");
  }
  return set;
}

std::string other_tokenizer_key(const JobFolder& jobs) {
  const std::string folder = (jobs.path() / "other").string();
  const ChildResult made = jobs.tool({"data", "prepare", "--out", folder, "--vocab", "512",
                                      (jobs.path() / "headers.txt").string()});
  EXPECT_EQ(made.exit_code, 0) << made.output;
  return fmt::format("data.tokenizer=\"{}/tokenizer\"", folder);
}

}  // namespace talaria::worker
