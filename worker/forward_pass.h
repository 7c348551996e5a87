// SPDX-License-Identifier: Apache-2.0
// Forward passes over any number of rows, shared out over the data ranks; every rank gets every
// token's number.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/engine.h"

namespace talaria::worker {

enum class TokenNumber { kNll, kEntropy, kValue };

// Appends row `row` to the batch.
using AppendRow = std::function<void(std::int64_t row, model::Batch& batch)>;

// This data rank's part of `rows` rows (1 or more): as many as every other's, in whole
// micro-batches. What lies behind the last row repeats the first one.
model::Batch part_of_rank(const Engine& engine, const launch::Job& job, std::int64_t rows,
                          const AppendRow& append);

// numbers[i] = [rows x T] of wanted[i], the same on all ranks. kEntropy may be asked for beside
// kNll; both are of the logits times `logit_scale`. Collective over world.
std::vector<std::vector<float>> forward_pass(Engine& engine, const launch::Job& job,
                                             std::int64_t rows, const AppendRow& append,
                                             const std::vector<TokenNumber>& wanted,
                                             float logit_scale = 1.0F);

}  // namespace talaria::worker
