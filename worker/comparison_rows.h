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

// Where the rewards of that row's answers are read, and their ranks; the row is made of `units`.
RowComparisons comparisons_of(const storage::ComparisonRow& row,
                              std::span<const storage::Comparison* const> units);

}  // namespace talaria::worker
