// SPDX-License-Identifier: Apache-2.0
// Every input of the corpus, and the same mutations of them each time: what `scripts/fuzz` found
// once stays found, and a careless change to a parser shows without a fuzzer.
#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::array kTargets = {Target{"job_file", job_file},       Target{"frames", frames},
                                 Target{"attempt", attempt},         Target{"chat_line", chat_line},
                                 Target{"safetensors", safetensors}, Target{"hf_text", hf_text}};
constexpr int kMutations = 60000;         // of each target,
constexpr double kMostSeconds = 2.0;      // as far as they fit into this
constexpr std::size_t kMostBytes = 8192;  // of a mutated input

class Replay : public testing::TestWithParam<Target> {
 protected:
  static std::vector<std::string> corpus() {
    std::vector<fs::path> files;
    const fs::path folder = fs::path(TALARIA_SOURCE_DIR) / "tests/fuzz/corpus" / GetParam().name;
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<std::string> texts;
    texts.reserve(files.size());
    for (const fs::path& file : files) texts.push_back(read_file(file));
    return texts;
  }

  static void try_one(const std::string& input) {
    try {
      GetParam().run(input);
    } catch (const std::exception& error) {
      FAIL() << error.what() << "\nfor the input\n" << testing::PrintToString(input);
    }
  }
};

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t bound) { return random() % bound; }

// One edit: a byte, a bit, a run removed or repeated, a piece of another input, a number.
void mutate(std::string& text, const std::vector<std::string>& others, Random& random) {
  const std::size_t at = below(random, text.size() + 1);
  const std::size_t length = std::min(text.size() - at, 1 + below(random, 16));
  switch (below(random, 6)) {
    case 0:
      text.insert(at, 1, static_cast<char>(random()));
      break;
    case 1:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(random, 8)));
      break;
    case 2:
      text.erase(at, length);
      break;
    case 3:
      text.insert(at, text.substr(at, length));
      break;
    case 4: {
      const std::string& other = others[below(random, others.size())];
      const std::size_t from = below(random, other.size() + 1);
      text.insert(at, other.substr(from, below(random, 64)));
      break;
    }
    default: {
      static constexpr const char* kNumbers[] = {"-1",    "0",   "9223372036854775807",
                                                 "1e308", "nan", "4294967296"};
      text.replace(at, length, kNumbers[below(random, std::size(kNumbers))]);
    }
  }
  text.resize(std::min(text.size(), kMostBytes));
}

TEST_P(Replay, TheCorpusIsReadOrRefused) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  for (const std::string& input : inputs) try_one(input);
}

TEST_P(Replay, MutationsAreReadOrRefused) {
  const std::vector<std::string> inputs = corpus();
  const double end = monotonic_seconds() + kMostSeconds;
  Random random(1);
  int tried = 0;
  for (; tried < kMutations && monotonic_seconds() < end && !HasFailure(); ++tried) {
    std::string input = inputs[below(random, inputs.size())];
    for (std::size_t edits = 1 + below(random, 4); edits > 0; --edits) {
      mutate(input, inputs, random);
    }
    try_one(input);
  }
  EXPECT_GT(tried, 100);
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(kTargets),
                         [](const auto& target) { return target.param.name; });

}  // namespace
}  // namespace talaria::fuzz
