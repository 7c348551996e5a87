// SPDX-License-Identifier: Apache-2.0
#include "storage/text/encoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <queue>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace talaria::storage {
namespace {

// Words up to this length merge by scanning for the lowest rank, longer ones by a heap, so that a
// megabyte without a blank costs n log n.
constexpr std::size_t kShortWord = 64;

}  // namespace

// A direct-mapped cache from words to their ids; a newcomer evicts. It bounds memory, never lies
// (the whole word is compared), and so cannot change a result.
class Encoder::WordCache {
 public:
  static constexpr std::size_t kMaxBytes = 34;
  static constexpr std::size_t kMaxIds = 7;
  struct Slot {
    std::uint8_t bytes = 0;  // 0: empty
    std::uint8_t count = 0;
    std::array<char, kMaxBytes> word;
    std::array<std::uint32_t, kMaxIds> ids;
  };
  static_assert(sizeof(Slot) == 64, "one cache line");

  WordCache() : slots_(std::make_unique<Slot[]>(kSlots)) {}

  Slot& slot_of(std::string_view word) {
    return slots_[XXH3_64bits(word.data(), word.size()) & (kSlots - 1)];
  }
  static bool holds(const Slot& slot, std::string_view word) {
    return slot.bytes == word.size() &&
           std::memcmp(slot.word.data(), word.data(), word.size()) == 0;
  }
  static void fill(Slot& slot, std::string_view word, const std::vector<std::uint32_t>& ids) {
    if (ids.size() > kMaxIds) return;
    slot.bytes = static_cast<std::uint8_t>(word.size());
    slot.count = static_cast<std::uint8_t>(ids.size());
    std::copy(word.begin(), word.end(), slot.word.begin());
    std::copy(ids.begin(), ids.end(), slot.ids.begin());
  }

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 15;
  std::unique_ptr<Slot[]> slots_;
};

Encoder::Encoder(const Tokenizer& tokenizer)
    : tables_(tokenizer.tables()),
      splitter_(std::shared_ptr<const WordPattern>(tables_, &tables_->pattern)),
      cache_(std::make_unique<WordCache>()) {}

Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;

void Encoder::encode(std::string_view text, std::vector<std::int32_t>& ids) {
  splitter_.start(text);
  std::string_view word;
  while (splitter_.next(word)) {
    if (word.size() > WordCache::kMaxBytes) {
      merge_word(word);
      ids.insert(ids.end(), symbols_.begin(), symbols_.end());
      continue;
    }
    WordCache::Slot& slot = cache_->slot_of(word);
    if (WordCache::holds(slot, word)) {
      ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.count);
      continue;
    }
    merge_word(word);
    ids.insert(ids.end(), symbols_.begin(), symbols_.end());
    WordCache::fill(slot, word, symbols_);
  }
}

void Encoder::merge_word(std::string_view word) {
  symbols_.resize(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    symbols_[i] = tables_->byte_ids[static_cast<std::uint8_t>(word[i])];
  }
  if (word.size() <= kShortWord) {
    merge_short();
  } else {
    merge_long();
  }
}

void Encoder::merge_short() {
  const MergeTable& merges = tables_->merges;
  std::size_t n = symbols_.size();
  ranks_.resize(n);
  for (std::size_t i = 0; i + 1 < n; ++i) {
    ranks_[i] = merges.find(symbols_[i], symbols_[i + 1]).rank;
  }
  while (n > 1) {
    const auto last = ranks_.begin() + static_cast<std::ptrdiff_t>(n) - 1;
    const auto best = std::min_element(ranks_.begin(), last);
    if (*best == Merge::kNoRank) break;
    const auto at = static_cast<std::size_t>(best - ranks_.begin());
    symbols_[at] = merges.find(symbols_[at], symbols_[at + 1]).token;
    for (std::size_t i = at + 1; i + 1 < n; ++i) {
      symbols_[i] = symbols_[i + 1];
      ranks_[i] = ranks_[i + 1];
    }
    --n;
    if (at + 1 < n) ranks_[at] = merges.find(symbols_[at], symbols_[at + 1]).rank;
    if (at > 0) ranks_[at - 1] = merges.find(symbols_[at - 1], symbols_[at]).rank;
  }
  symbols_.resize(n);
}

void Encoder::merge_long() {
  struct Candidate {
    std::uint32_t rank;
    std::size_t at;
    std::uint32_t left;
    std::uint32_t right;
    bool operator<(const Candidate& other) const {  // std::priority_queue pops the largest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  constexpr std::uint32_t kDead = Merge::kNoRank;
  const MergeTable& merges = tables_->merges;
  const std::size_t n = symbols_.size();
  std::vector<std::size_t> previous(n);  // neighbours among the living; n: none
  std::vector<std::size_t> next(n);
  std::priority_queue<Candidate> queue;
  const auto offer = [&](std::size_t at) {
    if (at == n || next[at] == n) return;
    const std::uint32_t rank = merges.find(symbols_[at], symbols_[next[at]]).rank;
    if (rank != Merge::kNoRank) queue.push({rank, at, symbols_[at], symbols_[next[at]]});
  };
  for (std::size_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? n : i - 1;
    next[i] = i + 1;
  }
  for (std::size_t i = 0; i < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const std::size_t right = next[best.at];
    const bool stale =
        symbols_[best.at] != best.left || right == n || symbols_[right] != best.right;
    if (stale) continue;
    symbols_[best.at] = merges.find(best.left, best.right).token;
    symbols_[right] = kDead;
    next[best.at] = next[right];
    if (next[right] != n) previous[next[right]] = best.at;
    offer(best.at);
    offer(previous[best.at]);
  }
  std::erase(symbols_, kDead);
}

}  // namespace talaria::storage
