// SPDX-License-Identifier: Apache-2.0
// The products of ops.h, cut into units for the pool. A unit is one (item, shard) and one panel of
// output columns (of output rows where rows are summed), whose width follows from the shape alone:
// the same unit, hence the same bits, for every pool. Panels also run faster than whole products,
// as their slice of b stays in cache.
#include <algorithm>

#include "model/cpu/dense_product.h"
#include "model/cpu/kernels.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

// About four panels, each of 128 to 512 rows or columns.
std::int64_t panel_width(std::int64_t extent) {
  const std::int64_t quarter = (extent / 4 + 63) / 64 * 64;
  return std::clamp<std::int64_t>(quarter, 128, 512);
}

struct Panels {
  Panels(const Stream& stream, std::int64_t products, std::int64_t extent_in)
      : extent(extent_in), width(panel_width(extent_in)) {
    if (stream.split_products && products == 1 && stream.pool != nullptr &&
        stream.pool->size() > 1) {
      width = extent;
      threads = stream.pool->size();
    }
    count = (extent + width - 1) / width;
  }
  std::int64_t size(std::int64_t panel) const { return std::min(width, extent - panel * width); }

  std::int64_t extent;
  std::int64_t width;
  std::int64_t count = 0;
  int threads = 1;
};

// The matrix of (item, shard) where a leading dim of 1 broadcasts.
const float* matrix(const ConstTensorView& x, std::int64_t item, std::int64_t shard) {
  const std::int64_t i = x.dim(0) == 1 ? 0 : item;
  const std::int64_t v = x.dim(1) == 1 ? 0 : shard;
  return x.data + (i * x.dim(1) + v) * x.dim(2) * x.dim(3);
}

void multiply_by_weights(const Stream& stream, const ConstTensorView& a, const ConstTensorView& b,
                         bool b_transposed, const TensorView& c) {
  const std::int64_t shards = c.dim(1);
  const std::int64_t rows = c.dim(2);
  const std::int64_t columns = c.dim(3);
  const std::int64_t depth = a.dim(3);
  const Panels panels(stream, c.dim(0) * shards, columns);
  for_units(stream, c.dim(0) * shards * panels.count, [&](std::int64_t unit) {
    const std::int64_t panel = unit % panels.count;
    const std::int64_t shard = unit / panels.count % shards;
    const std::int64_t item = unit / panels.count / shards;
    const std::int64_t first = panel * panels.width;
    DenseProduct product;
    product.rows = rows;
    product.columns = panels.size(panel);
    product.depth = depth;
    product.a_stride = depth;
    product.b_stride = b_transposed ? depth : columns;
    product.c_stride = columns;
    product.b_transposed = b_transposed;
    product.threads = panels.threads;
    const float* weights = b.data + (b.dim(0) == 1 ? 0 : shard) * columns * depth;
    multiply(product, matrix(a, item, shard), weights + first * (b_transposed ? depth : 1),
             c.data + (item * shards + shard) * rows * columns + first);
  });
}

}  // namespace

void matmul_nt(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  multiply_by_weights(stream, a, b, true, c);
}

void matmul_nn(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  multiply_by_weights(stream, a, b, false, c);
}

void matmul_tn_add(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  const std::int64_t items = std::max(a.dim(0), b.dim(0));
  const std::int64_t shards = c.dim(0);
  const std::int64_t rows = c.dim(1);
  const std::int64_t columns = c.dim(2);
  const Panels panels(stream, shards, rows);
  for_units(stream, shards * panels.count, [&](std::int64_t unit) {
    const std::int64_t panel = unit % panels.count;
    const std::int64_t shard = unit / panels.count;
    const std::int64_t first = panel * panels.width;
    DenseProduct product;
    product.rows = panels.size(panel);
    product.columns = columns;
    product.depth = a.dim(2);
    product.a_stride = rows;
    product.b_stride = columns;
    product.c_stride = columns;
    product.a_transposed = true;
    product.accumulate = true;
    product.threads = panels.threads;
    for (std::int64_t item = 0; item < items; ++item) {
      multiply(product, matrix(a, item, shard) + first, matrix(b, item, shard),
               c.data + (shard * rows + first) * columns);
    }
  });
}

}  // namespace talaria::model::cpu
