// SPDX-License-Identifier: Apache-2.0
// Biases, GELU, dropout and the sums over shards: one pass over memory each.
#include <array>

#include "model/cpu/kernels.h"
#include "model/cpu/random.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

// Balanced tree over `count` vectors, `stride` floats apart.
template <class Lanes>
F16 tree_sum(const float* x, std::int64_t count, std::int64_t stride, Lanes lanes) {
  if (count == 1) return load(x, lanes);
  if (count == 2) return load(x, lanes) + load(x + stride, lanes);
  std::int64_t left = 1;
  while (left * 2 < count) left *= 2;
  return tree_sum(x, left, stride, lanes) +
         tree_sum(x + left * stride, count - left, stride, lanes);
}

// to[c] += from[r][c], r ascending, for at most kUnitColumns columns.
void add_rows(float* to, const float* from, std::int64_t rows, std::int64_t stride,
              std::int64_t columns) {
  if (columns == 4 * kLanes) {
    std::array<F16, 4> sums;
    for (std::size_t j = 0; j < 4; ++j) sums[j] = load(to + j * kLanes, FullLanes{});
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::size_t j = 0; j < 4; ++j) {
        sums[j] += load(from + r * stride + j * kLanes, FullLanes{});
      }
    }
    for (std::size_t j = 0; j < 4; ++j) store(to + j * kLanes, sums[j], FullLanes{});
    return;
  }
  for_lanes(columns, [&](std::int64_t i, auto lanes) {
    F16 sum = load(to + i, lanes);
    for (std::int64_t r = 0; r < rows; ++r) sum += load(from + r * stride + i, lanes);
    store(to + i, sum, lanes);
  });
}

// GELU as x sigma(2u), since (1 + tanh u) / 2 = sigma(2u). With e = exp(-2u), sigma = 1 / (1 + e)
// and 1 - sigma = e sigma, without cancellation. x is clamped where sigma is within 1e-33 of 0 or
// 1, which keeps e finite.
struct Gelu {
  explicit Gelu(F16 x) {
    x = select(x < -9.5F, broadcast(-9.5F), x);
    x = select(x > 9.5F, broadcast(9.5F), x);
    clamped = x;
    square = x * x;
    e = exp(x * fma(square, broadcast(0.044715F), broadcast(1.0F)) * -kTwoRoots);
    sigma = 1.0F / (1.0F + e);
  }
  F16 derivative() const {
    const F16 slope_2u = fma(square, broadcast(3.0F * 0.044715F), broadcast(1.0F)) * kTwoRoots;
    return fma(clamped * sigma * (e * sigma), slope_2u, sigma);
  }

  static constexpr float kTwoRoots = 1.5957691216057308F;  // 2 sqrt(2 / pi)
  F16 clamped;
  F16 square;
  F16 e;
  F16 sigma;
};

// Calls step(row, column, lanes, factor) for every vector of rows [begin, end), factor being what
// dropout multiplies by. Columns are walked in pieces whose random words fit the first-level cache.
template <class Step>
void for_dropout_lanes(std::int64_t begin, std::int64_t end, std::int64_t columns,
                       std::int64_t length, const Dropout& dropout, const Step& step) {
  constexpr std::int64_t kPiece = 1024;
  const DropoutFactor factor(dropout);
  alignas(64) std::array<std::uint32_t, kPiece + 64> scratch;
  for (std::int64_t row = begin; row < end; ++row) {
    if (dropout.probability == 0.0F) {
      for_lanes(columns, [&](std::int64_t i, auto lanes) { step(row, i, lanes, broadcast(1.0F)); });
      continue;
    }
    const std::int64_t sample = dropout.first_sample + row / length;
    const std::int64_t element = row % length * columns;
    for (std::int64_t piece = 0; piece < columns; piece += kPiece) {
      const std::int64_t count = std::min(kPiece, columns - piece);
      const std::uint32_t* words =
          random_words(dropout.random, sample, element + piece, count, scratch.data());
      for_lanes(count, [&](std::int64_t i, auto lanes) {
        step(row, piece + i, lanes, factor(load(words + i, lanes)));
      });
    }
  }
}

}  // namespace

void tree_sum_shards(const Stream& stream, TensorView partial, TensorView out) {
  const std::int64_t shards = partial.dim(1);
  const std::int64_t extent = partial.dim(2) * partial.dim(3);
  const std::int64_t blocks = (extent + kUnitElements - 1) / kUnitElements;
  for_units(stream, partial.dim(0) * blocks, [&](std::int64_t unit) {
    const std::int64_t item = unit / blocks;
    const std::int64_t first = unit % blocks * kUnitElements;
    const float* in = partial.data + item * shards * extent + first;
    float* to = out.data + item * extent + first;
    for_lanes(std::min(kUnitElements, extent - first), [&](std::int64_t i, auto lanes) {
      store(to + i, tree_sum(in + i, shards, extent, lanes), lanes);
    });
  });
}

void add_bias(const Stream& stream, TensorView x, ConstTensorView bias) {
  const std::int64_t shards = x.dim(1);
  const std::int64_t rows = x.dim(2);
  const std::int64_t columns = x.dim(3);
  for_blocks(stream, x.dim(0) * shards * rows, rows_per_unit(columns),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t row = begin; row < end; ++row) {
                 const float* b = bias.data + row / rows % shards * columns;
                 float* y = x.data + row * columns;
                 for_lanes(columns, [&](std::int64_t i, auto lanes) {
                   store(y + i, load(y + i, lanes) + load(b + i, lanes), lanes);
                 });
               }
             });
}

void add_bias_backward(const Stream& stream, ConstTensorView dy, TensorView dbias) {
  const std::int64_t shards = dy.dim(1);
  const std::int64_t rows = dy.dim(2);
  const std::int64_t columns = dy.dim(3);
  const std::int64_t blocks = (columns + kUnitColumns - 1) / kUnitColumns;
  for_units(stream, shards * blocks, [&](std::int64_t unit) {
    const std::int64_t shard = unit / blocks;
    const std::int64_t first = unit % blocks * kUnitColumns;
    for (std::int64_t item = 0; item < dy.dim(0); ++item) {
      add_rows(dbias.data + shard * columns + first,
               dy.data + (item * shards + shard) * rows * columns + first, rows, columns,
               std::min(kUnitColumns, columns - first));
    }
  });
}

void scale_rows(const Stream& stream, ConstTensorView factors, TensorView x) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float factor = factors.data[row];
      float* y = x.data + row * columns;
      for_lanes(columns, [&](std::int64_t i, auto lanes) {
        store(y + i, load(y + i, lanes) * factor, lanes);
      });
    }
  });
}

void token_sums(const Stream& stream, ConstTensorView dy, std::int64_t length, TensorView sums) {
  const std::int64_t columns = dy.dim(1);
  const std::int64_t samples = dy.dim(0) / length;
  const std::int64_t chunk_length = length / sums.dim(0);
  const std::int64_t blocks = (columns + kUnitColumns - 1) / kUnitColumns;
  for_units(stream, sums.dim(0) * blocks, [&](std::int64_t unit) {
    const std::int64_t chunk = unit / blocks;
    const std::int64_t first = unit % blocks * kUnitColumns;
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      add_rows(sums.data + chunk * columns + first,
               dy.data + (sample * length + chunk * chunk_length) * columns + first, chunk_length,
               columns, std::min(kUnitColumns, columns - first));
    }
  });
}

void gelu(const Stream& stream, ConstTensorView x, TensorView y) {
  for_blocks(stream, x.count(), kUnitElements, [&](std::int64_t begin, std::int64_t end) {
    for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
      const F16 in = load(x.data + begin + i, lanes);
      store(y.data + begin + i, max(in, broadcast(-9.5F)) * Gelu(in).sigma, lanes);
    });
  });
}

void gelu_backward(const Stream& stream, ConstTensorView x, ConstTensorView dy, TensorView dx) {
  for_blocks(stream, x.count(), kUnitElements, [&](std::int64_t begin, std::int64_t end) {
    for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
      const F16 slope = Gelu(load(x.data + begin + i, lanes)).derivative();
      store(dx.data + begin + i, load(dy.data + begin + i, lanes) * slope, lanes);
    });
  });
}

void bias_dropout_residual(const Stream& stream, ConstTensorView x, ConstTensorView bias,
                           ConstTensorView residual, std::int64_t length, const Dropout& dropout,
                           TensorView y) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for_dropout_lanes(begin, end, columns, length, dropout,
                      [&](std::int64_t row, std::int64_t i, auto lanes, F16 factor) {
                        const std::int64_t at = row * columns + i;
                        const F16 biased = load(x.data + at, lanes) + load(bias.data + i, lanes);
                        store(y.data + at, fma(biased, factor, load(residual.data + at, lanes)),
                              lanes);
                      });
  });
}

void dropout_backward(const Stream& stream, ConstTensorView dy, std::int64_t length,
                      const Dropout& dropout, TensorView dx) {
  const std::int64_t columns = dy.dim(1);
  for_blocks(stream, dy.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for_dropout_lanes(begin, end, columns, length, dropout,
                      [&](std::int64_t row, std::int64_t i, auto lanes, F16 factor) {
                        const std::int64_t at = row * columns + i;
                        store(dx.data + at, load(dy.data + at, lanes) * factor, lanes);
                      });
  });
}

void position_dropout(const Stream& stream, ConstTensorView x, IdView positions,
                      ConstTensorView table, std::int64_t length, const Dropout& dropout,
                      TensorView y) {
  const std::int64_t columns = x.dim(1);
  for_blocks(stream, x.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for_dropout_lanes(begin, end, columns, length, dropout,
                      [&](std::int64_t row, std::int64_t i, auto lanes, F16 factor) {
                        const std::int64_t at = row * columns + i;
                        const F16 position =
                            load(table.data + positions.data[row] * columns + i, lanes);
                        store(y.data + at, (load(x.data + at, lanes) + position) * factor, lanes);
                      });
  });
}

void add_into(const Stream& stream, TensorView a, ConstTensorView b) {
  for_blocks(stream, a.count(), kUnitElements, [&](std::int64_t begin, std::int64_t end) {
    for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
      float* to = a.data + begin + i;
      store(to, load(to, lanes) + load(b.data + begin + i, lanes), lanes);
    });
  });
}

}  // namespace talaria::model::cpu
