// SPDX-License-Identifier: Apache-2.0
// Cross-entropy over a sharded vocabulary.
#include <algorithm>
#include <cmath>
#include <limits>

#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

double exp_sum(const In& stats, std::int64_t row, double maximum, std::int64_t begin,
               std::int64_t count) {
  if (count == 1) {
    const double* of = stats.data + (begin * stats.dim(1) + row) * 3;
    return of[1] * std::exp(of[0] - maximum);
  }
  std::int64_t left = 1;
  while (left * 2 < count) left *= 2;
  return exp_sum(stats, row, maximum, begin, left) +
         exp_sum(stats, row, maximum, begin + left, count - left);
}

}  // namespace

void cross_entropy_stats(In logits, IdView targets, std::int64_t first_row, std::int64_t vocab,
                         Out stats) {
  const std::int64_t columns = logits.dim(2);
  for (std::int64_t v = 0; v < logits.dim(0); ++v) {
    for (std::int64_t row = 0; row < logits.dim(1); ++row) {
      const double* x = logits.data + (v * logits.dim(1) + row) * columns;
      double maximum = kMinusInfinity;
      double target = kMinusInfinity;
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t id = first_row + v * columns + c;
        if (id >= vocab) continue;
        maximum = std::max(maximum, x[c]);
        if (id == targets.data[row]) target = x[c];
      }
      double sum = 0.0;
      for (std::int64_t c = 0; c < columns; ++c) {
        if (first_row + v * columns + c < vocab && maximum > kMinusInfinity) {
          sum += std::exp(x[c] - maximum);
        }
      }
      double* out = stats.data + (v * logits.dim(1) + row) * 3;
      out[0] = maximum;
      out[1] = sum;
      out[2] = target;
    }
  }
}

void cross_entropy_losses(In stats, Out lse, Out losses) {
  for (std::int64_t row = 0; row < stats.dim(1); ++row) {
    double maximum = kMinusInfinity;
    double target = kMinusInfinity;
    for (std::int64_t v = 0; v < stats.dim(0); ++v) {
      maximum = std::max(maximum, stats.data[(v * stats.dim(1) + row) * 3]);
      target = std::max(target, stats.data[(v * stats.dim(1) + row) * 3 + 2]);
    }
    lse.data[row] = maximum + std::log(exp_sum(stats, row, maximum, 0, stats.dim(0)));
    losses.data[row] = lse.data[row] - target;
  }
}

void cross_entropy_backward(Out logits, IdView targets, In lse, std::int64_t first_row,
                            std::int64_t vocab, double scale) {
  const std::int64_t columns = logits.dim(2);
  for (std::int64_t v = 0; v < logits.dim(0); ++v) {
    for (std::int64_t row = 0; row < logits.dim(1); ++row) {
      double* x = logits.data + (v * logits.dim(1) + row) * columns;
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t id = first_row + v * columns + c;
        const double hit = id == targets.data[row] ? 1.0 : 0.0;
        x[c] = id < vocab ? (std::exp(x[c] - lse.data[row]) - hit) * scale : 0.0;
      }
    }
  }
}

}  // namespace talaria::model::ref
