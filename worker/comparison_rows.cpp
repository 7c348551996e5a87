// SPDX-License-Identifier: Apache-2.0
#include "worker/comparison_rows.h"

#include <algorithm>

namespace talaria::worker {

void drop_long(std::vector<storage::Comparison>& comparisons, std::int64_t context,
               storage::ChatCounts& counts) {
  const auto dropped = std::erase_if(comparisons, [&](const storage::Comparison& each) {
    return std::any_of(each.answers.begin(), each.answers.end(), [&](const auto& answer) {
      return static_cast<std::int64_t>(each.prompt.size() + answer.size()) > context;
    });
  });
  counts.too_long += static_cast<std::int64_t>(dropped);
  counts.used -= static_cast<std::int64_t>(dropped);
}

storage::ComparisonRow packed_comparisons(std::span<const std::int32_t> units,
                                          const std::vector<storage::Comparison>& from,
                                          std::int64_t length, std::int32_t pad_id) {
  std::vector<const storage::Comparison*> comparisons;
  for (const std::int32_t unit : units) {
    comparisons.push_back(&from[static_cast<std::size_t>(unit)]);
  }
  return storage::comparison_row(comparisons, length, pad_id);
}

RowComparisons comparisons_of(const storage::ComparisonRow& row,
                              std::span<const std::int32_t> units,
                              const std::vector<storage::Comparison>& from) {
  RowComparisons comparisons;
  comparisons.places = row.places;
  for (const std::int32_t unit : units) {
    comparisons.ranks.push_back(from[static_cast<std::size_t>(unit)].ranks);
  }
  return comparisons;
}

}  // namespace talaria::worker
