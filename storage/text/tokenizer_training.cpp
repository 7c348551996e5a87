// SPDX-License-Identifier: Apache-2.0
#include "storage/text/tokenizer_training.h"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>
#include <unordered_set>

#include "cluster/base/error.h"
#include "storage/text/byte_alphabet.h"
#include "storage/text/hash.h"

namespace talaria::storage {
namespace {

using Pair = std::pair<std::uint32_t, std::uint32_t>;
using WordCount = std::pair<std::string_view, std::int64_t>;

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    return static_cast<std::size_t>(
        ((std::uint64_t{pair.first} << 32 | pair.second) * 0x9E3779B97F4A7C15u) >> 16);
  }
};

// All different words laid end to end as linked lists of symbols, with the count of each pair of
// neighbours and the positions where it stood. A symbol only ever grows to the right, so a pair
// stands at a position at most once; a position that no longer holds its pair is skipped.
class MergeLoop {
 public:
  explicit MergeLoop(const std::vector<WordCount>& words);

  // The most frequent pair, removed from the queue; false when none occurs twice.
  bool pop(Pair& pair);
  // Replaces the pair by `token` wherever it stands.
  void merge(const Pair& pair, std::uint32_t token);

 private:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  struct Occurrences {
    std::int64_t count = 0;
    std::vector<std::uint32_t> positions;
  };
  struct Candidate {
    std::int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {  // std::priority_queue pops the largest
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void add(const Pair& pair, std::uint32_t at);
  void remove(const Pair& pair, std::uint32_t at);

  std::vector<std::uint32_t> symbols_;   // kNone: swallowed by its left neighbour
  std::vector<std::uint32_t> previous_;  // positions; kNone at the ends of a word
  std::vector<std::uint32_t> next_;
  std::vector<std::uint32_t> word_of_;
  std::vector<std::int64_t> weight_;  // occurrences of each word
  std::unordered_map<Pair, Occurrences, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> grown_;  // pairs whose count rose in the merge under way
};

MergeLoop::MergeLoop(const std::vector<WordCount>& words) {
  std::array<std::uint32_t, 256> id_of{};
  for (std::uint32_t id = 0; id < 256; ++id) id_of[alphabet_order()[id]] = id;
  std::size_t bytes = 0;
  for (const WordCount& word : words) bytes += word.first.size();
  if (bytes >= kNone) {
    fail("{} bytes of different words are too many to train on; train on less text", bytes);
  }
  for (const WordCount& word : words) {
    const auto begin = static_cast<std::uint32_t>(symbols_.size());
    const auto end = begin + static_cast<std::uint32_t>(word.first.size());
    for (std::uint32_t at = begin; at < end; ++at) {
      symbols_.push_back(id_of[static_cast<std::uint8_t>(word.first[at - begin])]);
      previous_.push_back(at == begin ? kNone : at - 1);
      next_.push_back(at + 1 == end ? kNone : at + 1);
      word_of_.push_back(static_cast<std::uint32_t>(weight_.size()));
    }
    weight_.push_back(word.second);
    for (std::uint32_t at = begin; at + 1 < end; ++at) add({symbols_[at], symbols_[at + 1]}, at);
  }
  grown_.clear();
  for (const auto& [pair, found] : pairs_) queue_.push({found.count, pair});
}

void MergeLoop::add(const Pair& pair, std::uint32_t at) {
  Occurrences& found = pairs_[pair];
  found.count += weight_[word_of_[at]];
  found.positions.push_back(at);
  grown_.push_back(pair);
}

void MergeLoop::remove(const Pair& pair, std::uint32_t at) {
  const auto found = pairs_.find(pair);
  if (found != pairs_.end()) found->second.count -= weight_[word_of_[at]];
}

bool MergeLoop::pop(Pair& pair) {
  while (!queue_.empty()) {
    const Candidate best = queue_.top();
    queue_.pop();
    const auto found = pairs_.find(best.pair);
    // A count that rose has a later entry in the queue; one that fell gets one now.
    if (found == pairs_.end() || found->second.count > best.count) continue;
    if (found->second.count < best.count) {
      if (found->second.count > 0) queue_.push({found->second.count, best.pair});
      continue;
    }
    if (best.count < 2) return false;
    pair = best.pair;
    return true;
  }
  return false;
}

void MergeLoop::merge(const Pair& pair, std::uint32_t token) {
  std::vector<std::uint32_t> positions = std::move(pairs_[pair].positions);
  pairs_.erase(pair);
  std::sort(positions.begin(), positions.end());  // in "aaa" the leftmost pair merges
  grown_.clear();
  for (const std::uint32_t at : positions) {
    const std::uint32_t dead = next_[at];
    if (symbols_[at] != pair.first || dead == kNone || symbols_[dead] != pair.second) continue;
    const std::uint32_t before = previous_[at];
    const std::uint32_t after = next_[dead];
    if (before != kNone) remove({symbols_[before], pair.first}, at);
    if (after != kNone) remove({pair.second, symbols_[after]}, at);
    symbols_[at] = token;
    symbols_[dead] = kNone;
    next_[at] = after;
    if (after != kNone) previous_[after] = at;
    if (before != kNone) add({symbols_[before], token}, before);
    if (after != kNone) add({token, symbols_[after]}, at);
  }
  std::sort(grown_.begin(), grown_.end());
  grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
  for (const Pair& grown : grown_) {
    const auto found = pairs_.find(grown);
    if (found != pairs_.end() && found->second.count > 0) {
      queue_.push({found->second.count, grown});
    }
  }
}

}  // namespace

std::size_t TokenizerTrainer::WordHash::operator()(std::string_view word) const {
  return static_cast<std::size_t>(content_hash(word));
}

TokenizerTrainer::TokenizerTrainer() : pattern_(std::make_shared<WordPattern>()) {}

void TokenizerTrainer::count(std::span<const std::string> documents, ThreadPool& pool) {
  const auto threads = static_cast<std::size_t>(pool.size());
  if (counts_.size() < threads) counts_.resize(threads);
  std::vector<WordSplitter> splitters;
  for (std::size_t t = 0; t < threads; ++t) splitters.emplace_back(pattern_);
  pool.run(static_cast<std::int64_t>(documents.size()), [&](std::int64_t unit, int thread) {
    WordSplitter& splitter = splitters[static_cast<std::size_t>(thread)];
    WordCounts& counts = counts_[static_cast<std::size_t>(thread)];
    splitter.start(documents[static_cast<std::size_t>(unit)]);
    std::string_view word;
    while (splitter.next(word)) {
      const auto found = counts.find(word);
      if (found != counts.end()) {
        ++found->second;
      } else {
        counts.emplace(word, 1);
      }
    }
  });
}

Tokenizer TokenizerTrainer::train(std::int64_t vocab_size,
                                  const std::function<void(std::int64_t)>& progress) const {
  if (vocab_size < kSmallestVocab || vocab_size > kLargestTrainedVocab) {
    fail_usage("vocabulary of {}: allowed are {} (256 bytes and end of text) .. {}", vocab_size,
               kSmallestVocab, kLargestTrainedVocab);
  }
  std::unordered_map<std::string_view, std::int64_t> sums;
  for (const WordCounts& counts : counts_) {
    for (const auto& [word, n] : counts) sums[word] += n;
  }
  std::vector<WordCount> words(sums.begin(), sums.end());
  std::sort(words.begin(), words.end());
  MergeLoop loop(words);

  std::vector<std::string> tokens;
  std::unordered_map<std::string, std::uint32_t> ids;
  for (const std::uint8_t byte : alphabet_order()) {
    tokens.emplace_back(1, static_cast<char>(byte));
    ids.emplace(tokens.back(), static_cast<std::uint32_t>(tokens.size() - 1));
  }
  std::vector<MergeLine> merges;
  std::unordered_set<Pair, PairHash> known;
  Pair pair;
  while (static_cast<std::int64_t>(tokens.size()) + 1 < vocab_size) {
    if (!loop.pop(pair)) {
      fail_usage(
          "vocabulary of {}: the text has repeated pairs for {} only; ask for that or less, "
          "or give more text",
          vocab_size, tokens.size() + 1);
    }
    const std::string bytes = tokens[pair.first] + tokens[pair.second];
    // Two ways to spell one token ("ab"+"c", "a"+"bc") are two merges to the same id, and so an old
    // pair can come up anew.
    const auto [entry, is_new] = ids.emplace(bytes, static_cast<std::uint32_t>(tokens.size()));
    if (is_new) tokens.push_back(bytes);
    if (known.insert(pair).second) merges.push_back({pair.first, pair.second, entry->second});
    loop.merge(pair, entry->second);
    if (progress) progress(static_cast<std::int64_t>(tokens.size()));
  }
  tokens.emplace_back(kEndOfText);
  const auto end_of_text = static_cast<std::int32_t>(tokens.size() - 1);
  return Tokenizer::assemble(std::move(tokens), merges, end_of_text);
}

Tokenizer train_tokenizer(std::span<const std::string> texts, std::int64_t vocab_size,
                          ThreadPool& pool) {
  TokenizerTrainer trainer;
  trainer.count(texts, pool);
  return trainer.train(vocab_size);
}

}  // namespace talaria::storage
