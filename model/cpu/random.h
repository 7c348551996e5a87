// SPDX-License-Identifier: Apache-2.0
// Philox words of a run of elements, sixteen counters at a time, and the dropout factors made of
// them. The words are those of model/philox.h.
#pragma once

#include "cluster/base/error.h"
#include "model/cpu/simd.h"
#include "model/ops.h"
#include "model/philox.h"

namespace talaria::model::cpu {

// The words of elements [first, first + count) of one sample; `scratch` holds
// random_scratch_size(count) words, and the result lies in it.
inline std::int64_t random_scratch_size(std::int64_t count) { return (count + 3 + 63) / 64 * 64; }
const std::uint32_t* random_words(const PhiloxStream& random, std::int64_t sample,
                                  std::int64_t first, std::int64_t count, std::uint32_t* scratch);

// What an element is multiplied by: 1 / (1 - p) where it is kept, else 0.
struct DropoutFactor {
  explicit DropoutFactor(const Dropout& dropout)
      : threshold(dropout_threshold(dropout.probability)),
        scale(1.0F / (1.0F - dropout.probability)) {
    TALARIA_CHECK(dropout.probability >= 0.0F && dropout.probability < 1.0F, "probability {}",
                  dropout.probability);
  }
  F16 operator()(U16 words) const { return select(words >= threshold, broadcast(scale), F16{}); }

  std::uint32_t threshold;
  float scale;
};

}  // namespace talaria::model::cpu
