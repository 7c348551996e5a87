// SPDX-License-Identifier: Apache-2.0
// The product of an inference pass: few rows by a weight matrix, whose rows are read once from
// memory. A unit is a panel of output columns of one shard. Inside it a tile of rows x columns
// keeps one vector of sums an element; how elements are grouped into tiles changes none of them.
#include <array>
#include <cstring>
#include <utility>

#include "model/cpu/kernels.h"
#include "model/cpu/simd.h"
#include "model/cpu/units.h"

namespace talaria::model::cpu {
namespace {

// Rows of a group, whose tiles meet a few columns one after another; rows of a tile, and vectors of
// sums that the register file holds beside its operands.
#if defined(__AVX512F__)
constexpr int kGroupRows = 8;
constexpr int kLongGroupRows = 4;
constexpr int kTileRows = 8;
constexpr int kTileSums = 24;
#else
constexpr int kGroupRows = 9;
constexpr int kLongGroupRows = 9;
constexpr int kTileRows = 3;
constexpr int kTileSums = 6;
#endif
// More columns than this at once are more streams than a core's prefetchers follow.
constexpr int kTileColumns = 8;
// Bytes of weights in a unit: few enough for the second-level cache, where the next group of rows
// finds them, and many enough to hide the cost of handing a unit out.
constexpr std::int64_t kPanelFloats = 65536;

constexpr int columns_of(int rows) {
  return kTileSums / rows < kTileColumns ? kTileSums / rows : kTileColumns;
}

#if defined(__AVX512F__)
// The halves of x and y added: lanes [0, 8) of the result are x's, [8, 16) y's. Each step of
// fold_sum's tree, for two vectors at once.
inline F16 fold_halves(F16 x, F16 y) {
  return __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                 31);
}
inline F16 fold_quarters(F16 x, F16 y) {
  return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
inline F16 fold_eighths(F16 x, F16 y) {
  return __builtin_shufflevector(x, y, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
         __builtin_shufflevector(x, y, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
}
inline F16 fold_pairs(F16 x, F16 y) {
  return __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

// to[i] = the sum of x[i], as fold_sum gives it; eight of them. Sixteen floats of `to` are written.
inline void fold_eight(const F16* x, float* to) {
  const F16 a = fold_quarters(fold_halves(x[0], x[1]), fold_halves(x[2], x[3]));
  const F16 b = fold_quarters(fold_halves(x[4], x[5]), fold_halves(x[6], x[7]));
  const F16 sums = fold_eighths(a, b);
  store(to, fold_pairs(sums, sums), FullLanes{});
}
#else
using F8 = F16::Half;
inline F8 fold_half(F16 x) { return x.low + x.high; }
inline F8 fold_quarters(F8 x, F8 y) {
  return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
}
inline F8 fold_eighths(F8 x, F8 y) {
  return __builtin_shufflevector(x, y, 0, 1, 4, 5, 8, 9, 12, 13) +
         __builtin_shufflevector(x, y, 2, 3, 6, 7, 10, 11, 14, 15);
}
inline F8 fold_pairs(F8 x, F8 y) {
  return __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15);
}

// to[i] = the sum of x[i], as fold_sum gives it; eight of them.
inline void fold_eight(const F16* x, float* to) {
  const auto four = [](const F16* y) {
    return fold_eighths(fold_quarters(fold_half(y[0]), fold_half(y[1])),
                        fold_quarters(fold_half(y[2]), fold_half(y[3])));
  };
  const F8 sums = fold_pairs(four(x), four(x + 4));
  std::memcpy(to, &sums, sizeof(sums));
}
#endif

constexpr int tiles_of(int rows) { return (rows + kTileRows - 1) / kTileRows; }
// Where tile `number` of a group begins: tiles as equal as they can be, the larger ones first.
constexpr int first_row(int group, int tiles, int number) {
  return number * (group / tiles) + (number < group % tiles ? number : group % tiles);
}

struct RowProduct {
  std::int64_t depth;
  const float* b;
  std::int64_t c_row;
};

std::int64_t vectors_of(std::int64_t depth) { return (depth + kLanes - 1) / kLanes; }

// Rows of a tile side by side, [vector of depth][row][16], the tail filled with 0: whole rows would
// meet in the same few sets of the cache when `depth` is a multiple of 1024.
void pack_tile(const float* a, std::int64_t rows, std::int64_t depth, float* to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for_lanes(depth, [&](std::int64_t k, auto lanes) {
      store(to + k * rows + r * kLanes, load(a + r * depth + k, lanes), FullLanes{});
    });
  }
}

void pack_group(const float* a, int rows, std::int64_t depth, float* to) {
  const int tiles = tiles_of(rows);
  for (int t = 0; t < tiles; ++t) {
    const int first = first_row(rows, tiles, t);
    pack_tile(a + first * depth, first_row(rows, tiles, t + 1) - first, depth,
              to + first * vectors_of(depth) * kLanes);
  }
}

// x in a register. The compiler would rather load it again for each FMA, and loads, not FMAs, would
// set the pace.
inline F16 in_register(F16 x) {
#if defined(__AVX512F__)
  asm("" : "+v"(x));
#endif
  return x;
}

// Tile number `Number` of `Tiles` of a group of `Group` rows.
template <int Group, int Tiles, int Number, int Columns>
void tile(const RowProduct& p, const float* a, const float* b, float* c) {
  constexpr int kFirst = first_row(Group, Tiles, Number);
  constexpr int Rows = first_row(Group, Tiles, Number + 1) - kFirst;
  constexpr int kSums = (Rows * Columns + 7) / 8 * 8;
  F16 sums[kSums] = {};
  a += kFirst * vectors_of(p.depth) * kLanes;
  c += kFirst * p.c_row;
  const auto step = [&](std::int64_t k, auto lanes) {
    F16 right[Columns];
#pragma GCC unroll 8
    for (int n = 0; n < Columns; ++n) right[n] = load(b + n * p.depth + k, lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const F16 left = in_register(load(a + k * Rows + r * kLanes, FullLanes{}));
#pragma GCC unroll 8
      for (int n = 0; n < Columns; ++n) {
        sums[r * Columns + n] = fma(left, right[n], sums[r * Columns + n]);
      }
    }
  };
  // The next columns' weights: the hardware does not see beyond a row and a page. Each tile of the
  // group fetches its part of them, so that memory is busy all the time.
  constexpr int kLines = (Columns + Tiles - 1) / Tiles;
  constexpr std::int64_t kApart = Tiles == 1 ? 0 : kLanes * Columns / (Tiles * kLines) + 1;
  const float* ahead = b + Columns * p.depth + Number * (Columns * p.depth / Tiles);
  std::int64_t k = 0;
  for (; k + kLanes <= p.depth; k += kLanes) {
#pragma GCC unroll 8
    for (int n = 0; n < kLines; ++n) {
      const float* line = Tiles == 1 ? ahead + n * p.depth + k : ahead + n * kApart;
      __builtin_prefetch(line, 0, 2);
    }
    ahead += kLines * kApart;
    step(k, FullLanes{});
  }
  if (k < p.depth) step(k, PartLanes{static_cast<int>(p.depth - k)});
  float folded[kSums + 8];
#pragma GCC unroll 4
  for (int i = 0; i < kSums; i += 8) fold_eight(sums + i, folded + i);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < Columns; ++n) {
      c[r * p.c_row + n] = folded[r * Columns + n];
    }
  }
}

// All columns of a panel for a group of `Rows` rows.
template <int Rows>
void multiply_rows(const RowProduct& p, const float* a, std::int64_t columns, float* c) {
  constexpr int kTiles = tiles_of(Rows);
  constexpr int kWide = columns_of(first_row(Rows, kTiles, 1));
  const auto multiply = [&]<int Columns, int... Number>(
      std::int64_t n, std::integer_sequence<int, Columns>, std::integer_sequence<int, Number...>) {
    (tile<Rows, kTiles, Number, Columns>(p, a, p.b + n * p.depth, c + n), ...);
  };
  constexpr std::make_integer_sequence<int, kTiles> kAll{};
  std::int64_t n = 0;
  for (; n + kWide <= columns; n += kWide) multiply(n, std::integer_sequence<int, kWide>{}, kAll);
  for (; n < columns; ++n) multiply(n, std::integer_sequence<int, 1>{}, kAll);
}

using RowGroup = void (*)(const RowProduct&, const float*, std::int64_t, float*);

// groups[rows - 1]
constexpr auto kGroups = []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array<RowGroup, kGroupRows>{&multiply_rows<static_cast<int>(I) + 1>...};
}
(std::make_index_sequence<kGroupRows>{});

// A multiple of every tile's columns, so that no tile of a full panel is ragged.
std::int64_t panel_columns(std::int64_t depth) {
  constexpr std::int64_t kMultiple = 24;
  return std::clamp<std::int64_t>(kPanelFloats / depth / kMultiple, 1, 8) * kMultiple;
}

// Rows computed together. Rows of a long group leave no room in the first-level cache, and reading
// them from the second waits behind the weights that come from memory; when these come from there
// once only, fewer rows at a time may be faster.
std::int64_t group_rows(std::int64_t rows, std::int64_t depth) {
  constexpr std::int64_t kLongDepth = 2048;
  return rows <= kGroupRows && depth >= kLongDepth ? kLongGroupRows : kGroupRows;
}

}  // namespace

void matmul_rows(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c) {
  const std::int64_t rows = c.dim(1);
  const std::int64_t columns = c.dim(2);
  const std::int64_t depth = b.dim(2);
  const std::int64_t padded = vectors_of(depth) * kLanes;
  const std::int64_t most = group_rows(rows, depth);
  // Of the calling thread; no unit asks for scratch of its own.
  float* packed = thread_scratch(a.dim(0) * rows * padded);
  for (std::int64_t v = 0; v < a.dim(0); ++v) {
    for (std::int64_t row = 0; row < rows; row += most) {
      pack_group(a.data + (v * rows + row) * depth, static_cast<int>(std::min(most, rows - row)),
                 depth, packed + (v * rows + row) * padded);
    }
  }
  const std::int64_t width = panel_columns(depth);
  const std::int64_t panels = (columns + width - 1) / width;
  for_units(stream, c.dim(0) * panels, [&](std::int64_t unit) {
    const std::int64_t shard = unit / panels;
    const std::int64_t first = unit % panels * width;
    const RowProduct product = {depth, b.data + (shard * columns + first) * depth, columns};
    const float* from = packed + (a.dim(0) == 1 ? 0 : shard) * rows * padded;
    float* to = c.data + shard * rows * columns + first;
    for (std::int64_t row = 0; row < rows; row += most) {
      const std::int64_t group = std::min(most, rows - row);
      kGroups[static_cast<std::size_t>(group - 1)](
          product, from + row * padded, std::min(width, columns - first), to + row * columns);
    }
  });
}

}  // namespace talaria::model::cpu
