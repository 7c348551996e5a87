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
};

RowStats row_stats(const float* logits, std::int64_t count) {
  F16 highest = broadcast(kMinusInfinity);
  for_lanes(count, [&](std::int64_t i, auto lanes) {
    highest = max(highest, fill_tail(load(logits + i, lanes), kMinusInfinity, lanes));
  });
  const float maximum = fold_max(highest);
  if (maximum == kMinusInfinity) return {maximum, 0.0F};
  F16 even{};
  F16 odd{};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    even += exp(load(logits + i, FullLanes{}) - maximum);
    odd += exp(load(logits + i + kLanes, FullLanes{}) - maximum);
  }
  for_lanes(count - i, [&](std::int64_t j, auto lanes) {
    even += fill_tail(exp(load(logits + i + j, lanes) - maximum), 0.0F, lanes);
  });
  return {maximum, fold_sum(even + odd)};
}

// Balanced tree over shards of z_v exp(m_v - maximum); stats of one row, `stride` floats apart.
float exp_sum(const float* stats, std::int64_t shards, std::int64_t stride, float maximum) {
  if (shards == 1) return stats[1] * exp_one(stats[0] - maximum);
  std::int64_t left = 1;
  while (left * 2 < shards) left *= 2;
  return exp_sum(stats, left, stride, maximum) +
         exp_sum(stats + left * stride, shards - left, stride, maximum);
}

}  // namespace

void cross_entropy_stats(const Stream& stream, ConstTensorView logits, IdView targets,
                         std::int64_t first_row, std::int64_t vocab, TensorView stats) {
  const std::int64_t rows = logits.dim(1);
  const std::int64_t columns = logits.dim(2);
  for_blocks(stream, logits.dim(0) * rows, rows_per_unit(columns),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t at = begin; at < end; ++at) {
                 const std::int64_t shard_row = first_row + at / rows * columns;
                 const std::int64_t count = real_columns(shard_row, columns, vocab);
                 const float* row = logits.data + at * columns;
                 const RowStats sums = row_stats(row, count);
                 const std::int64_t target = targets.data[at % rows] - shard_row;
                 float* out = stats.data + at * 3;
                 out[0] = sums.maximum;
                 out[1] = sums.sum;
                 out[2] = target >= 0 && target < count ? row[target] : kMinusInfinity;
               }
             });
}

void cross_entropy_losses(const Stream& stream, ConstTensorView stats, TensorView lse,
                          TensorView losses) {
  const std::int64_t shards = stats.dim(0);
  const std::int64_t rows = stats.dim(1);
  for_blocks(stream, rows, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* first = stats.data + row * 3;
      float maximum = kMinusInfinity;
      float target = kMinusInfinity;
      for (std::int64_t v = 0; v < shards; ++v) {
        maximum = std::max(maximum, first[v * rows * 3]);
        target = std::max(target, first[v * rows * 3 + 2]);
      }
      const float log_sum = maximum + std::log(exp_sum(first, shards, rows * 3, maximum));
      lse.data[row] = log_sum;
      losses.data[row] = log_sum - target;
    }
  });
}

void cross_entropy_backward(const Stream& stream, TensorView logits, IdView targets,
                            ConstTensorView lse, std::int64_t first_row, std::int64_t vocab,
                            float scale) {
  const std::int64_t rows = logits.dim(1);
  const std::int64_t columns = logits.dim(2);
  for_blocks(stream, logits.dim(0) * rows, rows_per_unit(columns),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t at = begin; at < end; ++at) {
                 const std::int64_t shard_row = first_row + at / rows * columns;
                 const std::int64_t count = real_columns(shard_row, columns, vocab);
                 const float row_lse = lse.data[at % rows];
                 float* row = logits.data + at * columns;
                 const std::int64_t target = targets.data[at % rows] - shard_row;
                 const bool here = target >= 0 && target < count;
                 const float at_target =
                     here ? (exp_one(row[target] - row_lse) - 1.0F) * scale : 0.0F;
                 for_lanes(count, [&](std::int64_t i, auto lanes) {
                   store(row + i, exp(load(row + i, lanes) - row_lse) * scale, lanes);
                 });
                 if (here) row[target] = at_target;
                 std::fill(row + count, row + columns, 0.0F);
               }
             });
}

}  // namespace talaria::model::cpu
