// SPDX-License-Identifier: Apache-2.0
// The merges of a byte-level BPE, looked up by the pair of token ids: an open-addressing table, at
// most half full, that is only read once it is built.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "cluster/base/error.h"

namespace talaria::storage {

struct Merge {
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t rank = kNoRank;  // line of the merge in vocab.bpe; lower merges first
  std::uint32_t token = 0;       // what the pair becomes
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t merges = 0)
      : slots_(std::bit_ceil(2 * merges + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

  // False when the pair is there already. At most `merges` pairs may be added.
  bool add(std::uint32_t left, std::uint32_t right, Merge merge) {
    const std::uint64_t pair = key(left, right);
    std::size_t at = home(pair);
    while (slots_[at].merge.rank != Merge::kNoRank) {
      if (slots_[at].pair == pair) return false;
      at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at] = {pair, merge};
    ++size_;
    TALARIA_CHECK(2 * size_ <= slots_.size(), "more merges than announced");
    return true;
  }

  // rank kNoRank when the pair does not merge.
  Merge find(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t pair = key(left, right);
    for (std::size_t at = home(pair);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].pair == pair || slots_[at].merge.rank == Merge::kNoRank) {
        return slots_[at].merge;
      }
    }
  }

 private:
  struct Slot {
    std::uint64_t pair = 0;
    Merge merge;
  };
  static std::uint64_t key(std::uint32_t left, std::uint32_t right) {
    return std::uint64_t{left} << 32 | right;
  }
  std::size_t home(std::uint64_t pair) const {
    return static_cast<std::size_t>(
        (pair * 0x9E3779B97F4A7C15u ^ pair >> 29) * 0xBF58476D1CE4E5B9u >> shift_);
  }

  std::vector<Slot> slots_;
  int shift_;
  std::size_t size_ = 0;
};

}  // namespace talaria::storage
