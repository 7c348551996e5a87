// SPDX-License-Identifier: Apache-2.0
// Tables of tokens and of positions. Gradients are cut by columns, so every element is added to in
// row order by one thread.
#include <cstring>

#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {

void embed(const Stream& stream, IdView ids, ConstTensorView table, std::int64_t first_row,
           TensorView y) {
  const std::int64_t columns = y.dim(1);
  const std::size_t bytes = static_cast<std::size_t>(columns) * sizeof(float);
  for_blocks(stream, y.dim(0), rows_per_unit(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t id = ids.data[row] - first_row;
      float* to = y.data + row * columns;
      if (id >= 0 && id < table.dim(0)) {
        std::memcpy(to, table.data + id * columns, bytes);
      } else {
        std::fill(to, to + columns, 0.0F);
      }
    }
  });
}

void embed_backward(const Stream& stream, IdView ids, ConstTensorView dy, std::int64_t first_row,
                    TensorView dtable) {
  const std::int64_t columns = dy.dim(1);
  for_blocks(stream, columns, kUnitColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = 0; row < dy.dim(0); ++row) {
      const std::int64_t id = ids.data[row] - first_row;
      if (id < 0 || id >= dtable.dim(0)) continue;
      const float* from = dy.data + row * columns + begin;
      float* to = dtable.data + id * columns + begin;
      for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
        store(to + i, load(to + i, lanes) + load(from + i, lanes), lanes);
      });
    }
  });
}

}  // namespace talaria::model::cpu
