// SPDX-License-Identifier: Apache-2.0
// What a data rank feeds to one pass over its samples. A sample is a row of T tokens and may hold
// several segments (conversations, answers) laid end to end: attention and positions stay inside a
// segment.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace talaria::model {

struct Batch {
  std::int64_t length = 0;            // T
  std::vector<std::int32_t> inputs;   // [samples, T]
  std::vector<std::int32_t> targets;  // [samples, T]; the id that should follow
  std::vector<float> weights;         // [samples, T]; factor of the token's loss, 0: none
  // [samples, T]: where in the row the token's segment begins, starts[t] <= t, never falling. Token
  // t attends to [starts[t], t]; its position is t - starts[t]. A row that is not full ends in
  // tokens which are a segment each, of weight 0.
  std::vector<std::int32_t> starts;

  std::int64_t samples() const {
    return length == 0 ? 0 : static_cast<std::int64_t>(inputs.size()) / length;
  }
};

// Rows of T + 1 ids as pretraining reads them: one segment a row, every token counts 1.
Batch causal_batch(std::span<const std::int32_t> ids, std::int64_t length);

// Stops the program if the lists differ in length or `starts` is not as stated above.
void check_batch(const Batch& batch);

}  // namespace talaria::model
