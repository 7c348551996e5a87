// SPDX-License-Identifier: Apache-2.0
// A shard is a box of a logical tensor: global shape, offset, extent. Pure arithmetic; the unit of
// ZeRO, of checkpoints and of resharding.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace talaria::parallel {

// Tensors have one or two dims; a vector of n elements is [n, 1].
using Dims = std::array<std::int64_t, 2>;

struct Box {
  Dims offset = {0, 0};
  Dims extent = {0, 0};

  std::int64_t count() const { return extent[0] * extent[1]; }
  bool empty() const { return count() == 0; }
  bool operator==(const Box&) const = default;
};

// The common part of two boxes of the same tensor, or nothing.
inline std::optional<Box> intersect(const Box& a, const Box& b) {
  Box common;
  for (std::size_t d = 0; d < 2; ++d) {
    const std::int64_t low = a.offset[d] > b.offset[d] ? a.offset[d] : b.offset[d];
    const std::int64_t a_end = a.offset[d] + a.extent[d];
    const std::int64_t b_end = b.offset[d] + b.extent[d];
    const std::int64_t high = a_end < b_end ? a_end : b_end;
    if (high <= low) return std::nullopt;
    common.offset[d] = low;
    common.extent[d] = high - low;
  }
  return common;
}

struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Part `index` of `parts` of `rows` rows, in blocks of ceil(rows / parts); the last ones may be
// short or empty.
inline RowRange row_block(std::int64_t rows, int parts, int index) {
  const std::int64_t block = (rows + parts - 1) / parts;
  const std::int64_t begin = block * index < rows ? block * index : rows;
  const std::int64_t end = begin + block < rows ? begin + block : rows;
  return {begin, end};
}

// A dense box in memory: `data` points at extent[0] x extent[1] f32 elements, row-major. The
// tensor is a vector (stored with one dim on disk) when `vector` is set; then global[1] = 1.
// A tensor is hashed in blocks of one row x `hash_columns` columns, a number fixed by the job and
// the same in every layout: columns / virtual shards where virtual shards split columns, 0 (the
// whole row) elsewhere. No box may split such a block.
struct NamedBox {
  std::string tensor;  // "blocks.3.attn.q.weight"
  Dims global = {0, 0};
  bool vector = false;
  Box box;
  float* data = nullptr;
  std::int64_t hash_columns = 0;
};

}  // namespace talaria::parallel
