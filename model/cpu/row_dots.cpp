// SPDX-License-Identifier: Apache-2.0
// A scalar of every row: the product with one vector, and its gradients.
#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {

void row_dots(const Stream& stream, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
              TensorView y) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* in = x.data + row * columns;
      F16 sum{};
      for_lanes(columns, [&](std::int64_t i, auto lanes) {
        sum = fma(load(in + i, lanes), load(weight.data + i, lanes), sum);
      });
      y.data[row] = fold_sum(sum) + bias.data[0];
    }
  });
}

void row_dots_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                       ConstTensorView weight, std::int64_t length, TensorView dx,
                       TensorView weight_sums, TensorView bias_sums) {
  const std::int64_t columns = x.dim(1);
  const std::int64_t samples = x.dim(0) / length;
  const std::int64_t chunk_length = length / weight_sums.dim(0);
  const std::int64_t blocks = (columns + kUnitColumns - 1) / kUnitColumns;
  for_units(stream, weight_sums.dim(0) * blocks, [&](std::int64_t unit) {
    const std::int64_t chunk = unit / blocks;
    const std::int64_t first = unit % blocks * kUnitColumns;
    const std::int64_t width = std::min(kUnitColumns, columns - first);
    float* sums = weight_sums.data + chunk * columns + first;
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const std::int64_t token = sample * length + chunk * chunk_length;
      for (std::int64_t row = token; row < token + chunk_length; ++row) {
        const float d = dy.data[row];
        const std::int64_t at = row * columns + first;
        for_lanes(width, [&](std::int64_t i, auto lanes) {
          store(sums + i, fma(broadcast(d), load(x.data + at + i, lanes), load(sums + i, lanes)),
                lanes);
          store(dx.data + at + i, load(weight.data + first + i, lanes) * d, lanes);
        });
        if (first == 0) bias_sums.data[chunk] += d;
      }
    }
  });
}

}  // namespace talaria::model::cpu
