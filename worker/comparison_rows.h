// SPDX-License-Identifier: Apache-2.0
// Comparisons as a reward model reads them: which of them fit, and what of a packed row is which
// answer. Shared by the training of reward models and `talaria eval`. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/chat/chat_file.h"
#include "storage/chat/rows.h"
#include "worker/preference.h"

namespace talaria::worker {

// Removes the comparisons with an answer that has more tokens, prompt included, than the context;
// they move from used to too_long.
void drop_long(std::vector<storage::Comparison>& comparisons, std::int64_t context,
               storage::ChatCounts& counts);

// The row of T = `length` tokens with the units from[units[0]], from[units[1]], ...
storage::ComparisonRow packed_comparisons(std::span<const std::int32_t> units,
                                          const std::vector<storage::Comparison>& from,
                                          std::int64_t length, std::int32_t pad_id);

// Where the rewards of that row's answers are read, and their ranks.
RowComparisons comparisons_of(const storage::ComparisonRow& row,
                              std::span<const std::int32_t> units,
                              const std::vector<storage::Comparison>& from);

}  // namespace talaria::worker
