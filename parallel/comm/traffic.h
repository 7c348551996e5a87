// SPDX-License-Identifier: Apache-2.0
// The closed formulas of parallel/communicator.h: payload bytes that one rank of a group of n sends
// in a collective. Every transport counts by them, and the planner prices by them. Pure arithmetic.
#pragma once

#include <cstdint>

#include "parallel/box.h"

namespace talaria::parallel {

// `count` elements of `element_bytes` on each rank, in chunks of ceil(count / n).
inline std::uint64_t all_reduce_bytes(std::int64_t count, std::int64_t element_bytes, int n,
                                      int rank) {
  const RowRange own = row_block(count, n, rank);
  const std::int64_t length = own.end - own.begin;
  return static_cast<std::uint64_t>(((count - length) + length * (n - 1)) * element_bytes);
}

// Reduce-scatter and all-gather: n chunks of `chunk_bytes`.
inline std::uint64_t chunks_bytes(std::int64_t chunk_bytes, int n) {
  return static_cast<std::uint64_t>(chunk_bytes * (n - 1));
}

inline std::uint64_t broadcast_bytes(std::int64_t bytes, int n, bool is_root) {
  return is_root ? static_cast<std::uint64_t>(bytes * (n - 1)) : 0;
}

}  // namespace talaria::parallel
