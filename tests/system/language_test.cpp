// SPDX-License-Identifier: Apache-2.0
// The sample is language: judges the finished run of scripts/quickstart (or the one that the
// environment's TALARIA_QUICKSTART_RUN names). The model must predict text that it never saw better
// than xz packs it, write words that exist, and write them itself instead of copying.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/config.h"
#include "cluster/base/file.h"
#include "storage/text/tokenizer.h"
#include "tests/support/child_process.h"
#include "worker/run_directory.h"
#include "worker/samples.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

const char* const kPrompts[] = {"The computer", "In the beginning", "A program is",
                                "The function returns", "And he said"};
constexpr std::size_t kCharacters = 4000;
constexpr int kTokensEach = 300;
constexpr double kWordShare = 0.6;
constexpr std::int64_t kCopied = 50;

fs::path run_directory() {
  const char* named = std::getenv("TALARIA_QUICKSTART_RUN");
  return named != nullptr ? fs::path(named) : fs::path(TALARIA_SOURCE_DIR) / "runs/quickstart";
}

class Language : public testing::Test {
 protected:
  // Enters the folder that the job file's paths start from: <folder>/runs/<name>.
  void SetUp() override {
    run_ = fs::absolute(run_directory()).lexically_normal();
    if (!run_.has_filename()) run_ = run_.parent_path();
    ASSERT_TRUE(fs::exists(run_ / "metrics.jsonl") && fs::exists(run_ / "job.toml"))
        << run_ << " is no run; run scripts/quickstart first";
    root_ = run_.parent_path().parent_path();
    fs::current_path(root_);
    const std::string job_file = (run_ / "job.toml").string();
    job_ = launch::parse_job(ConfigFile::load(job_file));
    summary_ = summarise(run_);
    ASSERT_TRUE(summary_.done) << run_ << " is not finished; run scripts/quickstart first";
    fmt::print("{}: {} steps, {} tokens, loss {:.3f}\n", run_.string(), summary_.steps,
               summary_.tokens, summary_.last_loss);
  }

  fs::path run_;
  fs::path root_;
  launch::Job job_;
  RunSummary summary_;
};

// The text of the targets of the first `samples` validation samples, in the order of the sources.
std::string target_text(const storage::Dataset& data, const storage::Tokenizer& tokenizer,
                        const launch::Job& job, std::int64_t samples) {
  std::vector<std::array<std::int64_t, 3>> order;
  for (std::int64_t s = 0; s < samples; ++s) {
    const storage::Dataset::Origin origin = data.validation_origin(s);
    order.push_back({origin.source, origin.first, s});
  }
  std::sort(order.begin(), order.end());
  std::string text;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(job.train.sequence_length + 1));
  for (const auto& [source, first, sample] : order) {
    data.validation_sample(sample, ids);
    for (std::size_t t = 1; t < ids.size(); ++t) {
      if (ids[t] != tokenizer.end_of_text()) text += tokenizer.bytes_of(ids[t]);
    }
  }
  return text;
}

// Bits of `xz -9` a byte of `text`.
double xz_bits_per_byte(const std::string& text) {
  const fs::path file =
      fs::temp_directory_path() / fmt::format("talaria_language_{}.txt", ::getpid());
  write_file_atomic(file, text);
  const ChildResult packed = run_child({"xz", "-9", "-c", file.string()}, 60);
  fs::remove(file);
  EXPECT_EQ(packed.exit_code, 0) << "xz, of package xz-utils: " << packed.output;
  EXPECT_TRUE(
      packed.output.starts_with(std::string_view("\xFD"
                                                 "7zXZ")))
      << "not xz's output";
  return 8.0 * static_cast<double>(packed.output.size()) / static_cast<double>(text.size());
}

TEST_F(Language, PredictsBetterThanXzPacks) {
  const storage::Dataset data = open_dataset(job_);
  const auto tokenizer = storage::Tokenizer::load(job_.data.tokenizer);
  const EvaluationPlan plan = plan_evaluation(data, job_);
  ASSERT_GT(plan.samples, 0);
  const std::string text = target_text(data, tokenizer, job_, plan.samples);
  std::int64_t bytes = 0;
  for (std::int64_t s = 0; s < plan.samples; ++s) bytes += data.validation_bytes(s);
  ASSERT_EQ(static_cast<std::int64_t>(text.size()), bytes);
  ASSERT_TRUE(summary_.validation_bits_per_byte.has_value());
  const double model = *summary_.validation_bits_per_byte;
  const double xz = xz_bits_per_byte(text);
  fmt::print("validation, {} bytes: model {:.3f} bits a byte, xz -9 {:.3f}\n", bytes, model, xz);
  EXPECT_GT(model, 0.0);
  EXPECT_LT(model, xz);

  // Not judged: xz on all validation text, from which it can learn more.
  const std::string all = target_text(data, tokenizer, job_, data.validation_samples());
  fmt::print("all validation text, {} bytes: xz -9 {:.3f}\n", all.size(), xz_bits_per_byte(all));
}

// Calls visit(word) for every run of four or more letters, lower-cased.
template <class Visit>
void for_each_word(std::string_view text, Visit&& visit) {
  std::string word;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ' ';
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower >= 'a' && lower <= 'z') {
      word += lower;
      continue;
    }
    if (word.size() >= 4) visit(word);
    word.clear();
  }
}

struct WordShare {
  std::int64_t words = 0;
  std::int64_t known = 0;
  double share() const { return static_cast<double>(known) / static_cast<double>(words); }
};
WordShare share_of(std::string_view text, const std::unordered_set<std::string>& known) {
  WordShare result;
  for_each_word(text, [&](const std::string& word) {
    ++result.words;
    result.known += known.contains(word) ? 1 : 0;
  });
  return result;
}

// All substrings of a text (Blumer et al. 1985), over bytes: finds the longest run that another
// text shares with it in one pass over that other text.
class SuffixAutomaton {
 public:
  explicit SuffixAutomaton(std::string_view text) {
    states_.emplace_back();
    for (const char c : text) append(static_cast<unsigned char>(c));
  }

  // The longest common substring, or the first of several.
  std::string_view longest_common(std::string_view other) const {
    std::int32_t state = 0;
    std::size_t length = 0;
    std::size_t best = 0;
    std::size_t end = 0;
    for (std::size_t i = 0; i < other.size(); ++i) {
      const auto c = static_cast<unsigned char>(other[i]);
      while (state != 0 && at(state).next[c] == 0) {
        state = at(state).link;
        length = static_cast<std::size_t>(at(state).length);
      }
      if (at(state).next[c] != 0) {
        state = at(state).next[c];
        ++length;
      }
      if (length > best) {
        best = length;
        end = i + 1;
      }
    }
    return other.substr(end - best, best);
  }

 private:
  struct State {
    std::int32_t length = 0;
    std::int32_t link = -1;
    std::array<std::int32_t, 256> next{};  // 0: none, as nothing leads to the root
  };
  State& at(std::int32_t state) { return states_[static_cast<std::size_t>(state)]; }
  const State& at(std::int32_t state) const { return states_[static_cast<std::size_t>(state)]; }

  void append(unsigned char c) {
    const auto added = static_cast<std::int32_t>(states_.size());
    states_.emplace_back();
    at(added).length = at(last_).length + 1;
    std::int32_t from = last_;
    last_ = added;
    for (; from >= 0 && at(from).next[c] == 0; from = at(from).link) at(from).next[c] = added;
    if (from < 0) {
      at(added).link = 0;
      return;
    }
    const std::int32_t to = at(from).next[c];
    if (at(to).length == at(from).length + 1) {
      at(added).link = to;
      return;
    }
    const auto copy = static_cast<std::int32_t>(states_.size());
    states_.push_back(State(at(to)));
    at(copy).length = at(from).length + 1;
    for (; from >= 0 && at(from).next[c] == to; from = at(from).link) at(from).next[c] = copy;
    at(to).link = copy;
    at(added).link = copy;
  }

  std::vector<State> states_;
  std::int32_t last_ = 0;
};

TEST(SuffixAutomaton, FindsTheLongestCommonRun) {
  const SuffixAutomaton automaton("abcbc and the rest");
  EXPECT_EQ(automaton.longest_common("xx bcbc and thexx"), "bcbc and the");
  EXPECT_EQ(automaton.longest_common("bcbcb"), "bcbc");
  EXPECT_EQ(automaton.longest_common("XYZ"), "");
  EXPECT_EQ(automaton.longest_common("aabcbc and the rest."), "abcbc and the rest");
}

std::vector<fs::path> source_texts(const fs::path& root) {
  std::vector<fs::path> files;
  const fs::path folder = root / "data/text";
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// What the program writes after each prompt, with seeds 1, 2, ... until it is long enough. Texts
// are kept apart by a byte that no source has.
std::string generate_texts(const fs::path& run) {
  std::string all;
  for (int seed = 1; all.size() < kCharacters && seed < 50; ++seed) {
    for (const std::string prompt : kPrompts) {
      const ChildResult result =
          run_child({std::string(TALARIA_BIN_DIR) + "/talaria-worker", "generate", "--run-dir",
                     run.string(), "--prompt", prompt, "--tokens", std::to_string(kTokensEach),
                     "--seed", std::to_string(seed), "--threads", "1"},
                    300);
      EXPECT_EQ(result.exit_code, 0) << result.output;
      EXPECT_TRUE(result.output.starts_with(prompt)) << result.output;
      if (testing::Test::HasFailure()) return all;
      all += std::string_view(result.output).substr(prompt.size());
      all += '\0';
      if (all.size() >= kCharacters) break;
    }
  }
  return all;
}

TEST_F(Language, WritesWordsThatExistAndCopiesNothing) {
  const std::vector<fs::path> files = source_texts(root_);
  ASSERT_FALSE(files.empty()) << root_ / "data/text"
                              << " is empty; run scripts/quickstart first";
  const std::string text = generate_texts(run_);
  ASSERT_GE(text.size(), kCharacters);

  const SuffixAutomaton written(text);
  std::unordered_set<std::string> known;
  std::string longest;
  fs::path from;
  for (const fs::path& file : files) {
    const std::string source = read_file(file);
    for_each_word(source, [&](const std::string& word) { known.insert(word); });
    const std::string_view common = written.longest_common(source);
    if (common.size() <= longest.size()) continue;
    longest = common;
    from = file.filename();
  }

  const WordShare share = share_of(text, known);
  ASSERT_GT(share.words, 200);
  fmt::print(
      "generated {} characters, {} words of four or more letters: {:.1f} % occur in the "
      "sources ({} words)\n",
      text.size(), share.words, 100.0 * share.share(), known.size());
  EXPECT_GE(share.share(), kWordShare) << text;

  // Tokens drawn blindly must not reach the bar, else it says nothing about the model.
  const auto tokenizer = storage::Tokenizer::load(job_.data.tokenizer);
  std::mt19937 random(1);
  std::string noise;
  for (int i = 0; i < 5000; ++i) {
    noise += tokenizer.bytes_of(
        static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(tokenizer.vocab_size())));
  }
  const double noise_share = share_of(noise, known).share();
  fmt::print("of tokens drawn at random: {:.1f} %\n", 100.0 * noise_share);
  EXPECT_LT(noise_share, kWordShare);

  fmt::print("longest run copied, from {}: {} characters: \"{}\"\n", from.string(), longest.size(),
             longest);
  EXPECT_LT(static_cast<std::int64_t>(longest.size()), kCopied);
}

}  // namespace
}  // namespace talaria::worker
