// SPDX-License-Identifier: Apache-2.0
// The softmax of one query, the same sums in the same order wherever attention computes it.
#pragma once

#include <cmath>
#include <limits>

#include "model/cpu/simd.h"

namespace talaria::model::cpu {

struct SoftmaxRow {
  float sum;
  float lse;
};

// scores -> exp(score - maximum), not yet divided by their sum.
inline SoftmaxRow softmax_row(float* scores, std::int64_t keys) {
  F16 highest = broadcast(-std::numeric_limits<float>::infinity());
  for_lanes(keys, [&](std::int64_t i, auto lanes) {
    highest = max(highest, fill_tail(load(scores + i, lanes),
                                     -std::numeric_limits<float>::infinity(), lanes));
  });
  const float maximum = fold_max(highest);
  F16 even{};
  F16 odd{};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= keys; i += 2 * kLanes) {
    const F16 a = exp(load(scores + i, FullLanes{}) - maximum);
    const F16 b = exp(load(scores + i + kLanes, FullLanes{}) - maximum);
    store(scores + i, a, FullLanes{});
    store(scores + i + kLanes, b, FullLanes{});
    even += a;
    odd += b;
  }
  for_lanes(keys - i, [&](std::int64_t j, auto lanes) {
    const F16 a = fill_tail(exp(load(scores + i + j, lanes) - maximum), 0.0F, lanes);
    store(scores + i + j, a, lanes);
    even += a;
  });
  const float sum = fold_sum(even + odd);
  return {sum, maximum + std::log(sum)};
}

}  // namespace talaria::model::cpu
