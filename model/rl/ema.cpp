// SPDX-License-Identifier: Apache-2.0
#include "model/rl/ema.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cluster/base/error.h"

namespace talaria::model {
namespace {

constexpr std::int64_t kUnitElements = 1 << 16;

void update_block(float* average, const float* weights, std::int64_t count, float share) {
  for (std::int64_t i = 0; i < count; ++i) {
    average[i] = std::fma(share, weights[i] - average[i], average[i]);
  }
}

}  // namespace

void update_average(ThreadPool& pool, std::span<float> average, std::span<const float> weights,
                    double decay) {
  TALARIA_CHECK(average.size() == weights.size(), "{} averages of {} weights", average.size(),
                weights.size());
  TALARIA_CHECK(decay >= 0.0 && decay <= 1.0, "decay {}", decay);
  const auto count = static_cast<std::int64_t>(average.size());
  const auto share = static_cast<float>(1.0 - decay);
  pool.run((count + kUnitElements - 1) / kUnitElements, [&](std::int64_t unit, int) {
    const std::int64_t begin = unit * kUnitElements;
    update_block(average.data() + begin, weights.data() + begin,
                 std::min(kUnitElements, count - begin), share);
  });
}

}  // namespace talaria::model
