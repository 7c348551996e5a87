// SPDX-License-Identifier: Apache-2.0
// How kernels hand work to the pool: numbered units whose extent depends on shapes only, and
// per-thread scratch memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>

#include "model/ops.h"

namespace talaria::model::cpu {

// body(unit) for every unit, on the stream's pool.
template <class Body>
void for_units(const Stream& stream, std::int64_t units, const Body& body) {
  if (stream.pool == nullptr || stream.pool->size() == 1 || units == 1) {
    for (std::int64_t unit = 0; unit < units; ++unit) body(unit);
    return;
  }
  const auto work = [&body](std::int64_t unit, int) { body(unit); };
  stream.pool->run(units, std::ref(work));
}

// body(begin, end) over [0, count) in blocks of `block`.
template <class Body>
void for_blocks(const Stream& stream, std::int64_t count, std::int64_t block, const Body& body) {
  for_units(stream, (count + block - 1) / block,
            [&](std::int64_t unit) { body(unit * block, std::min(count, (unit + 1) * block)); });
}

// Elements a unit of a pointwise operation covers: large enough to hide the cost of handing it out.
inline constexpr std::int64_t kUnitElements = 16384;
// Columns a unit covers where every unit walks all rows.
inline constexpr std::int64_t kUnitColumns = 64;

inline std::int64_t rows_per_unit(std::int64_t columns) {
  return std::max<std::int64_t>(1, kUnitElements / std::max<std::int64_t>(1, columns));
}

// At least `floats` floats at a multiple of 64 bytes, owned by the calling thread and valid until
// its next call. Contents are arbitrary.
float* thread_scratch(std::int64_t floats);

}  // namespace talaria::model::cpu
