// SPDX-License-Identifier: Apache-2.0
// GELU, dropout, residuals, LayerNorm, embeddings, a scalar of every row and the optimizer.
#include <cmath>

#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;
constexpr double kEps = 1e-5;

}  // namespace

double dropout_factor(const Dropout& dropout, std::int64_t sample, std::int64_t element) {
  if (dropout.probability == 0.0F) return 1.0;
  const PhiloxBlock words =
      philox4x32({static_cast<std::uint32_t>(element / 4), dropout.random.stream,
                  static_cast<std::uint32_t>(sample), dropout.random.step},
                 dropout.random.seed);
  const std::uint32_t word = words[static_cast<std::size_t>(element % 4)];
  const bool keep = word >= dropout_threshold(dropout.probability);
  return keep ? 1.0 / (1.0 - static_cast<double>(dropout.probability)) : 0.0;
}

void gelu(In x, Out y) {
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double a = x.data[i];
    y.data[i] = 0.5 * a * (1.0 + std::tanh(kSqrtTwoOverPi * (a + kCubic * a * a * a)));
  }
}

void gelu_backward(In x, In dy, Out dx) {
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double a = x.data[i];
    const double t = std::tanh(kSqrtTwoOverPi * (a + kCubic * a * a * a));
    const double slope = kSqrtTwoOverPi * (1.0 + 3.0 * kCubic * a * a);
    dx.data[i] = dy.data[i] * (0.5 * (1.0 + t) + 0.5 * a * (1.0 - t * t) * slope);
  }
}

void bias_dropout_residual(In x, In bias, In residual, std::int64_t length, const Dropout& dropout,
                           Out y) {
  const std::int64_t columns = x.dim(1);
  const std::int64_t extent = length * columns;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double factor = dropout_factor(dropout, dropout.first_sample + i / extent, i % extent);
    y.data[i] = residual.data[i] + (x.data[i] + bias.data[i % columns]) * factor;
  }
}

void dropout_backward(In dy, std::int64_t length, const Dropout& dropout, Out dx) {
  const std::int64_t extent = length * dy.dim(1);
  for (std::int64_t i = 0; i < dy.count(); ++i) {
    dx.data[i] =
        dy.data[i] * dropout_factor(dropout, dropout.first_sample + i / extent, i % extent);
  }
}

void add_into(Out a, In b) {
  for (std::int64_t i = 0; i < a.count(); ++i) a.data[i] += b.data[i];
}

void layernorm(In x, In gain, In bias, Out y, Out mean, Out rstd) {
  const std::int64_t columns = x.dim(1);
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    const double* in = x.data + row * columns;
    double sum = 0.0;
    for (std::int64_t c = 0; c < columns; ++c) sum += in[c];
    const double m = sum / static_cast<double>(columns);
    double squares = 0.0;
    for (std::int64_t c = 0; c < columns; ++c) squares += (in[c] - m) * (in[c] - m);
    const double r = 1.0 / std::sqrt(squares / static_cast<double>(columns) + kEps);
    for (std::int64_t c = 0; c < columns; ++c) {
      y.data[row * columns + c] = (in[c] - m) * r * gain.data[c] + bias.data[c];
    }
    mean.data[row] = m;
    rstd.data[row] = r;
  }
}

void layernorm_backward(In dy, In x, In gain, In mean, In rstd, std::int64_t length, Out dx,
                        Out gain_sums, Out bias_sums) {
  const std::int64_t columns = x.dim(1);
  const double count = static_cast<double>(columns);
  const std::int64_t chunk_length = length / gain_sums.dim(0);
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    const double* g = dy.data + row * columns;
    const auto normal = [&](std::int64_t c) {
      return (x.data[row * columns + c] - mean.data[row]) * rstd.data[row];
    };
    const std::int64_t chunk = row % length / chunk_length;
    double mean_g = 0.0;
    double mean_gn = 0.0;
    for (std::int64_t c = 0; c < columns; ++c) {
      mean_g += g[c] * gain.data[c] / count;
      mean_gn += g[c] * gain.data[c] * normal(c) / count;
      gain_sums.data[chunk * columns + c] += g[c] * normal(c);
      bias_sums.data[chunk * columns + c] += g[c];
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      dx.data[row * columns + c] +=
          rstd.data[row] * (g[c] * gain.data[c] - mean_g - normal(c) * mean_gn);
    }
  }
}

void embed(IdView ids, In table, std::int64_t first_row, Out y) {
  const std::int64_t columns = y.dim(1);
  for (std::int64_t row = 0; row < y.dim(0); ++row) {
    const std::int64_t id = ids.data[row] - first_row;
    const bool here = id >= 0 && id < table.dim(0);
    for (std::int64_t c = 0; c < columns; ++c) {
      y.data[row * columns + c] = here ? table.data[id * columns + c] : 0.0;
    }
  }
}

void embed_backward(IdView ids, In dy, std::int64_t first_row, Out dtable) {
  const std::int64_t columns = dy.dim(1);
  for (std::int64_t row = 0; row < dy.dim(0); ++row) {
    const std::int64_t id = ids.data[row] - first_row;
    if (id < 0 || id >= dtable.dim(0)) continue;
    for (std::int64_t c = 0; c < columns; ++c) {
      dtable.data[id * columns + c] += dy.data[row * columns + c];
    }
  }
}

void position_dropout(In x, IdView positions, In table, std::int64_t length, const Dropout& dropout,
                      Out y) {
  const std::int64_t columns = x.dim(1);
  const std::int64_t extent = length * columns;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double factor = dropout_factor(dropout, dropout.first_sample + i / extent, i % extent);
    const std::int64_t position = positions.data[i / columns];
    y.data[i] = (x.data[i] + table.data[position * columns + i % columns]) * factor;
  }
}

void row_dots(In x, In weight, In bias, Out y) {
  const std::int64_t columns = x.dim(1);
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    double sum = bias.data[0];
    for (std::int64_t c = 0; c < columns; ++c) sum += x.data[row * columns + c] * weight.data[c];
    y.data[row] = sum;
  }
}

void row_dots_backward(In dy, In x, In weight, std::int64_t length, Out dx, Out weight_sums,
                       Out bias_sums) {
  const std::int64_t columns = x.dim(1);
  const std::int64_t chunk_length = length / weight_sums.dim(0);
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    const std::int64_t chunk = row % length / chunk_length;
    for (std::int64_t c = 0; c < columns; ++c) {
      dx.data[row * columns + c] = dy.data[row] * weight.data[c];
      weight_sums.data[chunk * columns + c] += dy.data[row] * x.data[row * columns + c];
    }
    bias_sums.data[chunk] += dy.data[row];
  }
}

void adamw(const AdamW& config, Out weight, In gradient, Out m, Out v) {
  const double b1 = config.beta1;
  const double b2 = config.beta2;
  for (std::int64_t i = 0; i < weight.count(); ++i) {
    const double g = gradient.data[i] * config.gradient_scale;
    m.data[i] = b1 * m.data[i] + (1.0 - b1) * g;
    v.data[i] = b2 * v.data[i] + (1.0 - b2) * g * g;
    const double step =
        m.data[i] / config.correction1 / (std::sqrt(v.data[i] / config.correction2) + config.eps);
    weight.data[i] -= config.learning_rate * (step + config.weight_decay * weight.data[i]);
  }
}

void row_sums_of_squares(In x, Out sums) {
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < x.dim(1); ++c) {
      sum += x.data[row * x.dim(1) + c] * x.data[row * x.dim(1) + c];
    }
    sums.data[row] = sum;
  }
}

}  // namespace talaria::model::ref
