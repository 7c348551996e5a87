// SPDX-License-Identifier: Apache-2.0
// Which units (conversations, or all answers of a prompt) share a row of T tokens, as a pure
// function of (seed, epoch). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace talaria::storage {

// Rows that wait for more units.
inline constexpr std::size_t kOpenRows = 128;

// An epoch's rows, each a list of units, in the order in which the rows were opened. Every unit is
// in exactly one row, rows[i] hold at most `length` tokens together. Units come in a seeded
// permutation of the epoch; each goes into the fullest of the open rows that has room (best fit,
// the older of equals; the last kOpenRows rows are open), else opens a row. Without `packing` a row
// is a unit. lengths[i] in 1 .. length; not empty. Time: units times kOpenRows.
std::vector<std::vector<std::int32_t>> pack_epoch(std::span<const std::int32_t> lengths,
                                                  std::int64_t length, bool packing,
                                                  std::uint64_t seed, std::int64_t epoch);

// The tokens of the units in `rows` over the tokens that the rows have room for.
double fill_of(const std::vector<std::vector<std::int32_t>>& rows,
               std::span<const std::int32_t> lengths, std::int64_t length);

// The rows of all epochs one after the other. Keeps the two epochs that were asked for last, and
// packs every epoch up to one that is asked for.
class PackedRows {
 public:
  PackedRows(std::vector<std::int32_t> lengths, std::int64_t length, bool packing,
             std::uint64_t seed);
  // Units of row `index` (from 0, over all epochs). Valid until the next call.
  const std::vector<std::int32_t>& row(std::int64_t index);
  std::int64_t epoch_of(std::int64_t index);
  // Rows of epoch 0: later ones may differ by a few.
  std::int64_t rows_in_first_epoch();

 private:
  struct Epoch {
    std::int64_t number = 0;
    std::vector<std::vector<std::int32_t>> rows;
  };
  // The epoch, packed; its first row becomes known, and that of the next.
  const Epoch& epoch(std::int64_t number);

  std::vector<std::int32_t> lengths_;
  std::int64_t length_;
  bool packing_;
  std::uint64_t seed_;
  std::vector<std::int64_t> firsts_ = {0};  // first row of each epoch known so far
  std::vector<Epoch> kept_;                 // the last asked for at the end
};

}  // namespace talaria::storage
