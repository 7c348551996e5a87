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

RowComparisons comparisons_of(const storage::ComparisonRow& row,
                              std::span<const storage::Comparison* const> units) {
  RowComparisons comparisons;
  comparisons.places = row.places;
  comparisons.ranks.reserve(units.size());
  for (const storage::Comparison* unit : units) comparisons.ranks.push_back(unit->ranks);
  return comparisons;
}

}  // namespace talaria::worker
