// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/packing.h"

#include <algorithm>
#include <limits>

#include "cluster/base/error.h"
#include "storage/text/permutation.h"

namespace talaria::storage {
namespace {

constexpr std::size_t kKeptEpochs = 2;
// Parts this use of a seed from the others.
constexpr std::uint64_t kPackingKey = 0x7061636B696E67u;

// The open row that `tokens` leave the least room in, or rows.size().
std::size_t best_fit(const std::vector<std::int64_t>& room, std::int64_t tokens) {
  std::size_t best = room.size();
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::size_t row = room.size() - std::min(room.size(), kOpenRows); row < room.size(); ++row) {
    if (room[row] < tokens || room[row] >= least) continue;
    best = row;
    least = room[row];
  }
  return best;
}

}  // namespace

std::vector<std::vector<std::int32_t>> pack_epoch(std::span<const std::int32_t> lengths,
                                                  std::int64_t length, bool packing,
                                                  std::uint64_t seed, std::int64_t epoch) {
  const auto units = static_cast<std::int64_t>(lengths.size());
  TALARIA_CHECK(units >= 1 && units <= std::numeric_limits<std::int32_t>::max() && epoch >= 0,
                "{} units, epoch {}", units, epoch);
  const Permutation order(units,
                          mix_keys(mix_keys(seed, kPackingKey), static_cast<std::uint64_t>(epoch)));
  std::vector<std::vector<std::int32_t>> rows;
  std::vector<std::int64_t> room;  // of each row
  for (std::int64_t i = 0; i < units; ++i) {
    const auto unit = static_cast<std::int32_t>(order(i));
    const std::int64_t tokens = lengths[static_cast<std::size_t>(unit)];
    TALARIA_CHECK(tokens >= 1 && tokens <= length, "unit {} has {} of {} tokens", unit, tokens,
                  length);
    const std::size_t row = packing ? best_fit(room, tokens) : rows.size();
    if (row == rows.size()) {
      rows.emplace_back();
      room.push_back(length);
    }
    rows[row].push_back(unit);
    room[row] -= tokens;
  }
  return rows;
}

double fill_of(const std::vector<std::vector<std::int32_t>>& rows,
               std::span<const std::int32_t> lengths, std::int64_t length) {
  std::int64_t tokens = 0;
  for (const std::vector<std::int32_t>& row : rows) {
    for (const std::int32_t unit : row) tokens += lengths[static_cast<std::size_t>(unit)];
  }
  return static_cast<double>(tokens) /
         (static_cast<double>(rows.size()) * static_cast<double>(length));
}

PackedRows::PackedRows(std::vector<std::int32_t> lengths, std::int64_t length, bool packing,
                       std::uint64_t seed)
    : lengths_(std::move(lengths)), length_(length), packing_(packing), seed_(seed) {
  TALARIA_CHECK(!lengths_.empty(), "nothing to pack");
}

const PackedRows::Epoch& PackedRows::epoch(std::int64_t number) {
  auto kept = std::find_if(kept_.begin(), kept_.end(),
                           [&](const Epoch& each) { return each.number == number; });
  if (kept != kept_.end()) {
    std::rotate(kept, kept + 1, kept_.end());
    return kept_.back();
  }
  if (kept_.size() == kKeptEpochs) kept_.erase(kept_.begin());
  kept_.push_back({number, pack_epoch(lengths_, length_, packing_, seed_, number)});
  const auto next = static_cast<std::size_t>(number) + 1;
  if (next == firsts_.size()) {
    firsts_.push_back(firsts_.back() + static_cast<std::int64_t>(kept_.back().rows.size()));
  }
  return kept_.back();
}

std::int64_t PackedRows::epoch_of(std::int64_t index) {
  TALARIA_CHECK(index >= 0, "row {}", index);
  while (firsts_.back() <= index) epoch(static_cast<std::int64_t>(firsts_.size()) - 1);
  return std::upper_bound(firsts_.begin(), firsts_.end(), index) - firsts_.begin() - 1;
}

const std::vector<std::int32_t>& PackedRows::row(std::int64_t index) {
  const std::int64_t number = epoch_of(index);
  const std::int64_t first = firsts_[static_cast<std::size_t>(number)];
  return epoch(number).rows[static_cast<std::size_t>(index - first)];
}

std::int64_t PackedRows::rows_in_first_epoch() {
  epoch_of(0);
  return firsts_[1];
}

}  // namespace talaria::storage
