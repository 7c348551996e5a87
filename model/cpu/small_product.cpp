// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/small_product.h"

#include <array>
#include <utility>

#include "model/cpu/simd.h"

namespace talaria::model::cpu {
namespace {

// Tile extents that fill the register file: 12 x 2 of AVX-512's 32 registers, or 6 x 1 pairs of
// AVX2's 16.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
constexpr int kTileVectors = 2;
#else
constexpr int kTileRows = 6;
constexpr int kTileVectors = 1;
#endif

// `Unit` says which of a's strides is 1: its column stride (row-major a) or its row stride.
enum class Unit : bool { kColumn, kRow };

template <int Rows, int Vectors, Unit kUnit>
void tile(const SmallProduct& p, const float* a, const float* b, float* c) {
  F16 sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = p.accumulate ? load(c + r * p.c_row + v * kLanes, FullLanes{}) : F16{};
    }
  }
  const std::int64_t row = kUnit == Unit::kRow ? 1 : p.a_row;
  const std::int64_t column = kUnit == Unit::kColumn ? 1 : p.a_column;
  for (std::int64_t k = 0; k < p.depth; ++k) {
    F16 right[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) right[v] = load(b + v * kLanes, FullLanes{});
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const F16 left = broadcast(a[r * row]);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sums[r][v] = fma(left, right[v], sums[r][v]);
    }
    a += column;
    b += p.b_row;
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      store(c + r * p.c_row + v * kLanes, sums[r][v], FullLanes{});
    }
  }
}

using Tile = void (*)(const SmallProduct&, const float*, const float*, float*);

// tiles[rows - 1]
template <int Vectors, Unit kUnit>
constexpr std::array<Tile, kTileRows> make_tiles() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Tile, kTileRows>{&tile<static_cast<int>(I) + 1, Vectors, kUnit>...};
  }
  (std::make_index_sequence<kTileRows>{});
}

template <Unit kUnit>
void multiply_tiles(const SmallProduct& p) {
  static constexpr auto kWide = make_tiles<kTileVectors, kUnit>();
  static constexpr auto kNarrow = make_tiles<1, kUnit>();
  constexpr std::int64_t kWidth = kTileVectors * kLanes;
  for (std::int64_t n = 0; n < p.columns;) {
    const bool wide = n + kWidth <= p.columns;
    for (std::int64_t m = 0; m < p.rows; m += kTileRows) {
      const std::int64_t rows = p.rows - m < kTileRows ? p.rows - m : kTileRows;
      const auto& tiles = wide ? kWide : kNarrow;
      tiles[static_cast<std::size_t>(rows - 1)](p, p.a + m * p.a_row, p.b + n,
                                                p.c + m * p.c_row + n);
    }
    n += wide ? kWidth : kLanes;
  }
}

}  // namespace

void multiply_small(const SmallProduct& product) {
  if (product.a_column == 1) {
    multiply_tiles<Unit::kColumn>(product);
  } else {
    multiply_tiles<Unit::kRow>(product);
  }
}

}  // namespace talaria::model::cpu
