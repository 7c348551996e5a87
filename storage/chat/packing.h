// SPDX-License-Identifier: Apache-2.0
// Which units (conversations, or all answers of a prompt) share a row of T tokens, as a pure
// function of (seed, epoch). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace talaria::storage {

// An epoch's rows, each a list of units. Every unit is in exactly one row, rows[i] hold at most
// `length` tokens together. Units come in a seeded permutation of the epoch; each goes into the
// fullest of the open rows that has room (best fit; the last kOpenRows rows are open), else opens a
// row. Without `packing` a row is a unit. lengths[i] in 1 .. length.
std::vector<std::vector<std::int32_t>> pack_epoch(std::span<const std::int32_t> lengths,
                                                  std::int64_t length, bool packing,
                                                  std::uint64_t seed, std::int64_t epoch);

// The rows of all epochs one after the other. Keeps the epochs that were asked for last.
class PackedRows {
 public:
  PackedRows(std::vector<std::int32_t> lengths, std::int64_t length, bool packing,
             std::uint64_t seed);
  // Units of row `index` (from 0, over all epochs).
  const std::vector<std::int32_t>& row(std::int64_t index);
  std::int64_t epoch_of(std::int64_t index);
  // Rows of epoch 0: later ones may differ by a few.
  std::int64_t rows_in_first_epoch();

 private:
  void reach(std::int64_t index);
  std::vector<std::int32_t> lengths_;
  std::int64_t length_;
  bool packing_;
  std::uint64_t seed_;
  struct Epoch {
    std::int64_t number = 0;
    std::int64_t first = 0;
    std::vector<std::vector<std::int32_t>> rows;
  };
  std::vector<std::int64_t> firsts_;  // first row of each epoch known so far
  std::vector<Epoch> kept_;
};

}  // namespace talaria::storage
