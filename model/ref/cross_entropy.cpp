// SPDX-License-Identifier: Apache-2.0
// Cross-entropy over a sharded vocabulary.
#include <algorithm>
#include <cmath>
#include <limits>

#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// sums of exp(logit - maximum), and of that times (logit - maximum) where the stats know it.
struct Sums {
  double exponentials = 0.0;
  double moment = 0.0;
};

Sums fold(const In& stats, std::int64_t row, double maximum, std::int64_t begin,
          std::int64_t count) {
  const std::int64_t width = stats.dim(2);
  if (count == 1) {
    const double* of = stats.data + (begin * stats.dim(1) + row) * width;
    if (of[0] == kMinusInfinity) return {};
    const double factor = std::exp(of[0] - maximum);
    return {of[1] * factor, width == 4 ? (of[3] + (of[0] - maximum) * of[1]) * factor : 0.0};
  }
  std::int64_t left = 1;
  while (left * 2 < count) left *= 2;
  const Sums a = fold(stats, row, maximum, begin, left);
  const Sums b = fold(stats, row, maximum, begin + left, count - left);
  return {a.exponentials + b.exponentials, a.moment + b.moment};
}

}  // namespace

void cross_entropy_stats(In logits, IdView targets, std::int64_t first_row, std::int64_t vocab,
                         Out stats) {
  const std::int64_t columns = logits.dim(2);
  const std::int64_t width = stats.dim(2);
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
      double moment = 0.0;
      for (std::int64_t c = 0; c < columns; ++c) {
        if (first_row + v * columns + c < vocab && maximum > kMinusInfinity) {
          sum += std::exp(x[c] - maximum);
          moment += std::exp(x[c] - maximum) * (x[c] - maximum);
        }
      }
      double* out = stats.data + (v * logits.dim(1) + row) * width;
      if (width == 4) out[3] = moment;
      out[0] = maximum;
      out[1] = sum;
      out[2] = target;
    }
  }
}

void cross_entropy_losses(In stats, Out lse, Out losses, Out entropies) {
  const std::int64_t width = stats.dim(2);
  for (std::int64_t row = 0; row < stats.dim(1); ++row) {
    double maximum = kMinusInfinity;
    double target = kMinusInfinity;
    for (std::int64_t v = 0; v < stats.dim(0); ++v) {
      maximum = std::max(maximum, stats.data[(v * stats.dim(1) + row) * width]);
      target = std::max(target, stats.data[(v * stats.dim(1) + row) * width + 2]);
    }
    const Sums sums = fold(stats, row, maximum, 0, stats.dim(0));
    lse.data[row] = maximum + std::log(sums.exponentials);
    losses.data[row] = lse.data[row] - target;
    if (entropies) {
      entropies.data[row] = std::log(sums.exponentials) - sums.moment / sums.exponentials;
    }
  }
}

void cross_entropy_backward(Out logits, IdView targets, In lse, std::int64_t first_row,
                            std::int64_t vocab, In scales, In entropies, In entropy_scales) {
  const std::int64_t columns = logits.dim(2);
  for (std::int64_t v = 0; v < logits.dim(0); ++v) {
    for (std::int64_t row = 0; row < logits.dim(1); ++row) {
      double* x = logits.data + (v * logits.dim(1) + row) * columns;
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t id = first_row + v * columns + c;
        const double hit = id == targets.data[row] ? 1.0 : 0.0;
        const double log_p = x[c] - lse.data[row];
        const double p = std::exp(log_p);
        x[c] = id < vocab ? (p - hit) * scales.data[row] : 0.0;
        if (entropies && id < vocab) {
          x[c] -= p * (log_p + entropies.data[row]) * entropy_scales.data[row];
        }
      }
    }
  }
}

}  // namespace talaria::model::ref
