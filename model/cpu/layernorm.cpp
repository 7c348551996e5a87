// SPDX-License-Identifier: Apache-2.0
// LayerNorm. A row's sums run in four 16-lane accumulators, folded in one fixed tree.
#include <array>

#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

constexpr float kEps = 1e-5F;

// Sum over columns of term(column, lanes).
template <class Term>
float row_sum(std::int64_t columns, const Term& term) {
  std::array<F16, 4> sums{};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes) {
    for (std::size_t j = 0; j < 4; ++j) {
      sums[j] += term(i + static_cast<std::int64_t>(j) * kLanes, FullLanes{});
    }
  }
  for (std::size_t j = 0; i + kLanes <= columns; i += kLanes, ++j) sums[j] += term(i, FullLanes{});
  if (i < columns) {
    const PartLanes tail{static_cast<int>(columns - i)};
    sums[3] += fill_tail(term(i, tail), 0.0F, tail);
  }
  return fold_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// dx of one row. With g = dy gain and n the normalised x: dx += rstd (g - mean(g) - n mean(g n)).
void row_gradient(const float* dy, const float* x, const float* gain, float mean, float rstd,
                  std::int64_t columns, float* dx) {
  const float count = static_cast<float>(columns);
  const float mean_g =
      row_sum(columns, [&](std::int64_t i,
                           auto lanes) { return load(dy + i, lanes) * load(gain + i, lanes); }) /
      count;
  const float mean_gn = row_sum(columns,
                                [&](std::int64_t i, auto lanes) {
                                  const F16 normal = (load(x + i, lanes) - mean) * rstd;
                                  return load(dy + i, lanes) * load(gain + i, lanes) * normal;
                                }) /
                        count;
  for_lanes(columns, [&](std::int64_t i, auto lanes) {
    const F16 g = load(dy + i, lanes) * load(gain + i, lanes);
    const F16 normal = (load(x + i, lanes) - mean) * rstd;
    const F16 centred = g - mean_g - normal * mean_gn;
    store(dx + i, fma(centred, broadcast(rstd), load(dx + i, lanes)), lanes);
  });
}

}  // namespace

void layernorm(const Stream& stream, ConstTensorView x, ConstTensorView gain, ConstTensorView bias,
               TensorView y, TensorView mean, TensorView rstd) {
  const std::int64_t columns = x.dim(1);
  const auto normalise = [&](std::int64_t row) {
    const float* in = x.data + row * columns;
    const float count = static_cast<float>(columns);
    const float m =
        row_sum(columns, [&](std::int64_t i, auto lanes) { return load(in + i, lanes); }) / count;
    const float variance = row_sum(columns,
                                   [&](std::int64_t i, auto lanes) {
                                     const F16 d = load(in + i, lanes) - m;
                                     return d * d;
                                   }) /
                           count;
    const float r = 1.0F / std::sqrt(variance + kEps);
    for_lanes(columns, [&](std::int64_t i, auto lanes) {
      const F16 normal = (load(in + i, lanes) - m) * r;
      store(y.data + row * columns + i,
            fma(normal, load(gain.data + i, lanes), load(bias.data + i, lanes)), lanes);
    });
    mean.data[row] = m;
    rstd.data[row] = r;
  };
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) normalise(row);
  });
}

void layernorm_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                        ConstTensorView gain, ConstTensorView mean, ConstTensorView rstd,
                        std::int64_t length, TensorView dx, TensorView gain_sums,
                        TensorView bias_sums) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      row_gradient(dy.data + row * columns, x.data + row * columns, gain.data, mean.data[row],
                   rstd.data[row], columns, dx.data + row * columns);
    }
  });

  const std::int64_t samples = x.dim(0) / length;
  const std::int64_t chunk_length = length / gain_sums.dim(0);
  const std::int64_t blocks = (columns + kUnitColumns - 1) / kUnitColumns;
  for_units(stream, gain_sums.dim(0) * blocks, [&](std::int64_t unit) {
    const std::int64_t chunk = unit / blocks;
    const std::int64_t first = unit % blocks * kUnitColumns;
    float* gains = gain_sums.data + chunk * columns + first;
    float* biases = bias_sums.data + chunk * columns + first;
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const std::int64_t row0 = sample * length + chunk * chunk_length;
      for_lanes(std::min(kUnitColumns, columns - first), [&](std::int64_t i, auto lanes) {
        F16 gain_sum = load(gains + i, lanes);
        F16 bias_sum = load(biases + i, lanes);
        for (std::int64_t row = row0; row < row0 + chunk_length; ++row) {
          const std::int64_t at = row * columns + first + i;
          const F16 g = load(dy.data + at, lanes);
          const F16 normal = (load(x.data + at, lanes) - mean.data[row]) * rstd.data[row];
          gain_sum = fma(g, normal, gain_sum);
          bias_sum += g;
        }
        store(gains + i, gain_sum, lanes);
        store(biases + i, bias_sum, lanes);
      });
    }
  });
}

}  // namespace talaria::model::cpu
