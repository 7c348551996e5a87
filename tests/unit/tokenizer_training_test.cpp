// SPDX-License-Identifier: Apache-2.0
// Training: against a plain loop over the definition, and the same whatever the threads.
#include "storage/text/tokenizer_training.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/text/byte_alphabet.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::message_of;

// Merged tokens in order, by recounting all pairs of all words after every merge.
std::vector<std::string> train_by_definition(const std::vector<std::string>& texts,
                                             std::size_t merges) {
  std::map<std::string, std::int64_t> counts;
  WordSplitter splitter(std::make_shared<WordPattern>());
  for (const std::string& text : texts) {
    splitter.start(text);
    for (std::string_view word; splitter.next(word);) ++counts[std::string(word)];
  }
  std::map<std::string, int> id_of;
  for (const std::uint8_t byte : alphabet_order()) {
    id_of.emplace(std::string(1, static_cast<char>(byte)), static_cast<int>(id_of.size()));
  }
  std::vector<std::pair<std::vector<std::string>, std::int64_t>> words;
  for (const auto& [word, count] : counts) {
    std::vector<std::string> symbols;
    for (const char c : word) symbols.emplace_back(1, c);
    words.emplace_back(symbols, count);
  }
  std::vector<std::string> merged;
  while (merged.size() < merges) {
    using Pair = std::pair<int, int>;
    std::map<Pair, std::int64_t> pairs;
    std::map<int, std::string> name;
    for (const auto& [text, id] : id_of) name[id] = text;
    for (const auto& [symbols, count] : words) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        pairs[{id_of[symbols[i]], id_of[symbols[i + 1]]}] += count;
      }
    }
    const auto best =
        std::max_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
          return a.second != b.second ? a.second < b.second : a.first > b.first;
        });
    const std::string left = name[best->first.first];
    const std::string right = name[best->first.second];
    if (id_of.emplace(left + right, static_cast<int>(id_of.size())).second) {
      merged.push_back(left + right);
    }
    for (auto& [symbols, count] : words) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        if (symbols[i] != left || symbols[i + 1] != right) continue;
        symbols[i] += symbols[i + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return merged;
}

std::vector<std::string> merged_tokens(const Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  for (std::int32_t id = 256; id < tokenizer.end_of_text(); ++id) {
    tokens.emplace_back(tokenizer.bytes_of(id));
  }
  return tokens;
}

TEST(TokenizerTraining, EqualsThePlainLoop) {
  ThreadPool pool(2);
  std::mt19937_64 random(9);
  for (std::uint64_t round = 0; round < 12; ++round) {
    std::vector<std::string> texts;
    for (int i = 0; i < 6; ++i) {
      std::string text = test::random_prose(round, 400);
      // A tiny alphabet brings ties, overlaps ("aaa") and tokens spelled in two ways.
      if (round % 2 == 0) {
        for (char& c : text) c = "aab "[random() % 4];
      }
      texts.push_back(text);
    }
    const Tokenizer trained = train_tokenizer(texts, 257 + 24, pool);
    EXPECT_EQ(merged_tokens(trained), train_by_definition(texts, 24)) << "round " << round;
  }
}

TEST(TokenizerTraining, DoesNotDependOnThreadsOrOrder) {
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < 40; ++i) texts.push_back(test::random_prose(i % 5, 3000 + 100 * i));
  ThreadPool one(1);
  const std::string expected = train_tokenizer(texts, 900, one).fingerprint();
  std::reverse(texts.begin(), texts.end());
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    EXPECT_EQ(train_tokenizer(texts, 900, pool).fingerprint(), expected);
    TokenizerTrainer in_parts;
    in_parts.count(std::span(texts).first(13), pool);
    in_parts.count(std::span(texts).subspan(13), pool);
    EXPECT_EQ(in_parts.train(900).fingerprint(), expected);
  }
}

TEST(TokenizerTraining, VocabularyHasTheBytesTheMergesAndTheEnd) {
  ThreadPool pool(1);
  const std::vector<std::string> texts = {test::random_prose(1, 30000)};
  const Tokenizer tokenizer = train_tokenizer(texts, 512, pool);
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_EQ(tokenizer.end_of_text(), 511);
  EXPECT_EQ(tokenizer.bytes_of(0), "!");
  const auto tokens = merged_tokens(tokenizer);
  EXPECT_EQ(std::set<std::string>(tokens.begin(), tokens.end()).size(), 255u);
  EXPECT_LT(tokenizer.encode(texts[0]).size(), texts[0].size() / 2);
}

TEST(TokenizerTraining, RefusesWhatItCannotDo) {
  ThreadPool pool(1);
  const std::vector<std::string> texts = {"abab abab"};
  EXPECT_THAT(message_of<UsageError>([&] { train_tokenizer(texts, 256, pool); }),
              testing::HasSubstr("vocabulary of 256: allowed are 257"));
  EXPECT_THAT(message_of<UsageError>([&] { train_tokenizer(texts, 5000, pool); }),
              testing::HasSubstr("vocabulary of 5000: the text has repeated pairs for 259 only"));
  const std::vector<std::string> nothing;
  EXPECT_EQ(train_tokenizer(nothing, 257, pool).vocab_size(), 257);
}

}  // namespace
}  // namespace talaria::storage
