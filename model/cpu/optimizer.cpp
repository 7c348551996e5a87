// SPDX-License-Identifier: Apache-2.0
// AdamW and the sums of squares of the global gradient norm.
#include <array>

#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

// Sixteen lanes of f64, as two vectors; lane i meets lane i + 8, then i + 4, i + 2, i + 1.
double sum_of_squares(const float* x, std::int64_t count) {
  D8 low{};
  D8 high{};
  const auto add = [&](const float* from) {
    const D8 a = load_eight(from);
    const D8 b = load_eight(from + 8);
    low += a * a;
    high += b * b;
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) add(x + i);
  if (i < count) {
    std::array<float, kLanes> tail;
    store(tail.data(), load(x + i, PartLanes{static_cast<int>(count - i)}), FullLanes{});
    add(tail.data());
  }
  std::array<double, 8> sums;
  store(sums.data(), low + high);
  for (std::size_t width = 4; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  }
  return sums[0];
}

}  // namespace

void adamw(const Stream& stream, const AdamW& config, TensorView weight, ConstTensorView gradient,
           TensorView m, TensorView v) {
  const F16 beta1 = broadcast(config.beta1);
  const F16 beta2 = broadcast(config.beta2);
  const F16 minus_rate = broadcast(-config.learning_rate);
  const F16 decay = broadcast(config.weight_decay);
  for_blocks(stream, weight.count(), kUnitElements, [&](std::int64_t begin, std::int64_t end) {
    for_lanes(end - begin, [&](std::int64_t at, auto lanes) {
      const std::int64_t i = begin + at;
      const F16 g = load(gradient.data + i, lanes) * config.gradient_scale;
      const F16 w = load(weight.data + i, lanes);
      const F16 first = fma(beta1, load(m.data + i, lanes), (1.0F - config.beta1) * g);
      const F16 second = fma(beta2, load(v.data + i, lanes), (1.0F - config.beta2) * (g * g));
      const F16 size = sqrt(second / config.correction2) + config.eps;
      const F16 step = fma(decay, w, first / config.correction1 / size);
      store(m.data + i, first, lanes);
      store(v.data + i, second, lanes);
      store(weight.data + i, fma(minus_rate, step, w), lanes);
    });
  });
}

void row_sums_of_squares(const Stream& stream, ConstTensorView x, Tensor<double> sums) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      sums.data[row] = sum_of_squares(x.data + row * columns, columns);
    }
  });
}

}  // namespace talaria::model::cpu
