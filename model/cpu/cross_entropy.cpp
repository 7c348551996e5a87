// SPDX-License-Identifier: Apache-2.0
// Cross-entropy over a sharded vocabulary: exact maxima first, then sums of exponentials below
// them.
#include <cmath>
#include <limits>
#include <vector>

#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// How many of a shard's columns hold real vocabulary rows.
std::int64_t real_columns(std::int64_t first_row, std::int64_t columns, std::int64_t vocab) {
  return std::clamp<std::int64_t>(vocab - first_row, 0, columns);
}

struct RowStats {
  float maximum;
  float sum;
  float moment;  // sum of exp(x - maximum) (x - maximum), if asked for
};

// exp vanishes here, so what stands for a logit below it never matters; its product with 0 is 0.
constexpr float kLeastLog = -88.0F;

template <bool kWithMoment>
RowStats row_stats(const float* logits, std::int64_t count) {
  F16 highest = broadcast(kMinusInfinity);
  for_lanes(count, [&](std::int64_t i, auto lanes) {
    highest = max(highest, fill_tail(load(logits + i, lanes), kMinusInfinity, lanes));
  });
  const float maximum = fold_max(highest);
  if (maximum == kMinusInfinity) return {maximum, 0.0F, 0.0F};
  F16 even{};
  F16 odd{};
  F16 moment{};
  const auto exp_of = [&](std::int64_t at, auto lanes) {
    const F16 below = load(logits + at, lanes) - maximum;
    const F16 e = fill_tail(exp(below), 0.0F, lanes);
    if constexpr (kWithMoment) moment = fma(e, max(below, broadcast(kLeastLog)), moment);
    return e;
  };
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    even += exp_of(i, FullLanes{});
    odd += exp_of(i + kLanes, FullLanes{});
  }
  for_lanes(count - i, [&](std::int64_t j, auto lanes) { even += exp_of(i + j, lanes); });
  return {maximum, fold_sum(even + odd), fold_sum(moment)};
}

// Balanced tree over shards of z_v exp(m_v - maximum); stats of one row, `stride` floats apart.
float exp_sum(const float* stats, std::int64_t shards, std::int64_t stride, float maximum) {
  if (shards == 1) return stats[1] * exp_one(stats[0] - maximum);
  std::int64_t left = 1;
  while (left * 2 < shards) left *= 2;
  return exp_sum(stats, left, stride, maximum) +
         exp_sum(stats + left * stride, shards - left, stride, maximum);
}

// Balanced tree over shards of exp(m_v - maximum) (w_v + (m_v - maximum) z_v), w_v the fourth stat.
float moment_sum(const float* stats, std::int64_t shards, std::int64_t stride, float maximum) {
  if (shards == 1) {
    const float below = std::max(stats[0] - maximum, kLeastLog);
    return (stats[3] + below * stats[1]) * exp_one(stats[0] - maximum);
  }
  std::int64_t left = 1;
  while (left * 2 < shards) left *= 2;
  return moment_sum(stats, left, stride, maximum) +
         moment_sum(stats + left * stride, shards - left, stride, maximum);
}

// One row of one shard; `target` is its column, or -1 where it lies elsewhere.
struct RowGradient {
  float lse;
  float scale;
  std::int64_t target;
  void write(float* row, std::int64_t count) const {
    const float at_target = target < 0 ? 0.0F : (exp_one(row[target] - lse) - 1.0F) * scale;
    for_lanes(count, [&](std::int64_t i, auto lanes) {
      store(row + i, exp(load(row + i, lanes) - lse) * scale, lanes);
    });
    if (target >= 0) row[target] = at_target;
  }
  void write(float* row, std::int64_t count, float entropy, float entropy_scale) const {
    const auto gradient = [&](F16 log_p) {
      const F16 above = max(log_p, broadcast(kLeastLog)) + entropy;
      return exp(log_p) * (scale - above * entropy_scale);
    };
    const float at_target = target < 0 ? 0.0F : gradient(broadcast(row[target] - lse))[0] - scale;
    for_lanes(count, [&](std::int64_t i, auto lanes) {
      store(row + i, gradient(load(row + i, lanes) - lse), lanes);
    });
    if (target >= 0) row[target] = at_target;
  }
};

}  // namespace

void cross_entropy_stats(const Stream& stream, ConstTensorView logits, IdView targets,
                         std::int64_t first_row, std::int64_t vocab, TensorView stats) {
  const std::int64_t rows = logits.dim(1);
  const std::int64_t columns = logits.dim(2);
  const std::int64_t width = stats.dim(2);
  for_blocks(stream, logits.dim(0) * rows, rows_per_unit(columns),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t at = begin; at < end; ++at) {
                 const std::int64_t shard_row = first_row + at / rows * columns;
                 const std::int64_t count = real_columns(shard_row, columns, vocab);
                 const float* row = logits.data + at * columns;
                 const RowStats sums =
                     width == 4 ? row_stats<true>(row, count) : row_stats<false>(row, count);
                 const std::int64_t target = targets.data[at % rows] - shard_row;
                 float* out = stats.data + at * width;
                 out[0] = sums.maximum;
                 out[1] = sums.sum;
                 out[2] = target >= 0 && target < count ? row[target] : kMinusInfinity;
                 if (width == 4) out[3] = sums.moment;
               }
             });
}

void cross_entropy_losses(const Stream& stream, ConstTensorView stats, TensorView lse,
                          TensorView losses, TensorView entropies) {
  const std::int64_t shards = stats.dim(0);
  const std::int64_t rows = stats.dim(1);
  const std::int64_t width = stats.dim(2);
  for_blocks(stream, rows, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* first = stats.data + row * width;
      float maximum = kMinusInfinity;
      float target = kMinusInfinity;
      for (std::int64_t v = 0; v < shards; ++v) {
        maximum = std::max(maximum, first[v * rows * width]);
        target = std::max(target, first[v * rows * width + 2]);
      }
      const float sum = exp_sum(first, shards, rows * width, maximum);
      const float log_sum = maximum + std::log(sum);
      lse.data[row] = log_sum;
      if (entropies) {
        entropies.data[row] =
            std::log(sum) - moment_sum(first, shards, rows * width, maximum) / sum;
      }
      losses.data[row] = log_sum - target;
    }
  });
}

void cross_entropy_backward(const Stream& stream, TensorView logits, IdView targets,
                            ConstTensorView lse, std::int64_t first_row, std::int64_t vocab,
                            ConstTensorView scales, ConstTensorView entropies,
                            ConstTensorView entropy_scales) {
  const std::int64_t rows = logits.dim(1);
  const std::int64_t columns = logits.dim(2);
  for_blocks(stream, logits.dim(0) * rows, rows_per_unit(columns),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t at = begin; at < end; ++at) {
                 const std::int64_t r = at % rows;
                 const std::int64_t shard_row = first_row + at / rows * columns;
                 const std::int64_t count = real_columns(shard_row, columns, vocab);
                 const std::int64_t target = targets.data[r] - shard_row;
                 const bool here = target >= 0 && target < count;
                 const RowGradient gradient = {lse.data[r], scales.data[r], here ? target : -1};
                 float* row = logits.data + at * columns;
                 if (entropies) {
                   gradient.write(row, count, entropies.data[r], entropy_scales.data[r]);
                 } else {
                   gradient.write(row, count);
                 }
                 std::fill(row + count, row + columns, 0.0F);
               }
             });
}

}  // namespace talaria::model::cpu
