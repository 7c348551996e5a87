// SPDX-License-Identifier: Apache-2.0
// Draws the next token from logits. Pure.
#pragma once

#include <cstdint>
#include <span>

namespace talaria::model {

struct SamplerOptions {
  double temperature = 1.0;  // 0: always the likeliest, of equals the smallest id
  std::int64_t top_k = 0;    // draw from the k likeliest, of equals the smaller ids; 0: from all
  double top_p = 1.0;  // and of those from the fewest, at least one, whose probabilities among
                       // them reach p (nucleus sampling, Holtzman et al. 2020,
                       // arXiv:1904.09751); above 0, from 1 on it keeps all
  std::uint64_t seed = 1;
};

struct Drawn {
  std::int32_t id = 0;
  // log softmax(logits / temperature)[id], at temperature 0 as at 1: of all ids, whatever top_k and
  // top_p leave of them.
  float logprob = 0.0F;
};

// A pure function of its arguments: the random number is Philox word 0 of (seed, key, position).
// `key` names the prompt, `position` the place of the drawn token in its sequence. logits [vocab];
// -inf is never drawn. All arithmetic is f64. Throws Error when a logit is NaN or +inf, or all are
// -inf.
Drawn draw(std::span<const float> logits, const SamplerOptions& options, std::uint64_t key,
           std::int64_t position);

}  // namespace talaria::model
