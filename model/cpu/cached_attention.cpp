// SPDX-License-Identifier: Apache-2.0
// Attention of an inference pass, one unit a (slot, shard, head). The cache holds what the packed
// head of attention.cpp holds: keys as transposed panels of 32 tokens, values as padded rows. So
// every sum is the FMA chain of the training pass, and a token's bits do not depend on how many
// rows come with it.
#include <array>
#include <cmath>
#include <vector>

#include "cluster/base/error.h"
#include "model/cpu/attention_unit.h"
#include "model/cpu/kernels.h"
#include "model/cpu/softmax.h"

namespace talaria::model::cpu {
namespace {

static_assert(kCacheTokens == kKeyPanel && kCacheLanes == kLanes);

// Consecutive rows of one slot.
struct Run {
  std::int64_t first;
  std::int64_t rows;
  std::int64_t slot;
  std::int64_t position;  // of the first row
};

std::vector<Run> find_runs(const IdView& slots, const IdView& positions, std::int64_t all_slots) {
  std::vector<Run> runs;
  std::vector<bool> seen(static_cast<std::size_t>(all_slots));
  for (std::int64_t r = 0; r < slots.dim(0); ++r) {
    if (!runs.empty() && runs.back().slot == slots.data[r]) {
      TALARIA_CHECK(positions.data[r] == runs.back().position + runs.back().rows,
                    "row {} skips to token {}", r, positions.data[r]);
      ++runs.back().rows;
    } else {
      const auto slot = static_cast<std::size_t>(slots.data[r]);
      TALARIA_CHECK(!seen[slot], "the rows of slot {} do not lie together", slot);
      seen[slot] = true;
      runs.push_back({r, 1, slots.data[r], positions.data[r]});
    }
  }
  return runs;
}

// One head of a run.
struct CachedHead {
  const float* qkv;    // q of the run's first row
  std::int64_t width;  // from q to k and from k to v; a row is three times as wide
  std::int64_t size;
  std::int64_t padded;
  std::int64_t tokens;  // of the cache
  float* keys;
  float* values;
  float* y;
};

void append(const CachedHead& head, const Run& run) {
  for (std::int64_t r = 0; r < run.rows; ++r) {
    const float* k = head.qkv + r * 3 * head.width + head.width;
    const std::int64_t token = run.position + r;
    float* panel = head.keys + token / kKeyPanel * kKeyPanel * head.size + token % kKeyPanel;
    // A line for each element: all on their way before the first store waits.
    for (std::int64_t i = 0; i < head.size; ++i) __builtin_prefetch(panel + i * kKeyPanel, 1);
    for (std::int64_t i = 0; i < head.size; ++i) panel[i * kKeyPanel] = k[i];
    pack_rows(k + head.width, 0, 1, head.size, 1.0F, head.values + token * head.padded);
  }
}

// block[i,:] = sum over the keys of query i of weights[i,key] values[key,:]. The first `shared`
// keys belong to all queries; the chain of each then goes on over its own.
void multiply_values(const CachedHead& head, const float* weights, std::int64_t weights_row,
                     std::int64_t queries, std::int64_t shared, float* block) {
  multiply_small({.rows = queries,
                  .columns = head.padded,
                  .depth = shared,
                  .a = weights,
                  .a_row = weights_row,
                  .b = head.values,
                  .b_row = head.padded,
                  .c = block,
                  .c_row = head.padded});
  for (std::int64_t i = 1; i < queries; ++i) {
    multiply_small({.rows = 1,
                    .columns = head.padded,
                    .depth = i,
                    .a = weights + i * weights_row + shared,
                    .a_row = weights_row,
                    .b = head.values + shared * head.padded,
                    .b_row = head.padded,
                    .c = block + i * head.padded,
                    .c_row = head.padded,
                    .accumulate = true});
  }
}

// One query alone, as in decoding, has too few chains for multiply_small's tiles: each waits for
// itself. These two give the same chains, more of them at once.

// `next` is what will be read next, as long as these panels: it is fetched meanwhile.
template <int Panels>
void score_panels(const float* q, const float* panels, std::int64_t size, const float* next,
                  float* scores) {
  constexpr int kVectors = 2 * Panels;
  F16 sums[kVectors] = {};
  for (std::int64_t i = 0; i < size; ++i) {
    const F16 left = broadcast(q[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const float* key = panels + v / 2 * kKeyPanel * size + i * kKeyPanel + v % 2 * kLanes;
      __builtin_prefetch(next + (i * kVectors + v) * kLanes, 0, 2);
      sums[v] = fma(left, load(key, FullLanes{}), sums[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(scores + v * kLanes, sums[v], FullLanes{});
}

void score_one(const CachedHead& head, const float* q, std::int64_t keys, float* scores) {
  // Panels whose sums the register file holds.
#if defined(__AVX512F__)
  constexpr std::int64_t kAtOnce = 4;
#else
  constexpr std::int64_t kAtOnce = 2;
#endif
  const std::int64_t panels = (keys + kKeyPanel - 1) / kKeyPanel;
  std::int64_t panel = 0;
  for (; panel + kAtOnce <= panels; panel += kAtOnce) {
    score_panels<kAtOnce>(q, head.keys + panel * kKeyPanel * head.size, head.size,
                          head.values + panel * kKeyPanel * head.padded,
                          scores + panel * kKeyPanel);
  }
  for (; panel < panels; ++panel) {
    score_panels<1>(q, head.keys + panel * kKeyPanel * head.size, head.size,
                    head.values + panel * kKeyPanel * head.padded, scores + panel * kKeyPanel);
  }
}

template <int Vectors>
void weigh_columns(const CachedHead& head, const float* weights, std::int64_t keys,
                   std::int64_t column, float* y) {
  F16 sums[Vectors] = {};
  for (std::int64_t t = 0; t < keys; ++t) {
    const F16 weight = broadcast(weights[t]);
    const float* value = head.values + t * head.padded + column;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      sums[v] = fma(weight, load(value + v * kLanes, FullLanes{}), sums[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) store(y + column + v * kLanes, sums[v], FullLanes{});
}

void weigh_one(const CachedHead& head, const float* weights, std::int64_t keys, float* y) {
  constexpr std::int64_t kAtOnce = 4;
  std::int64_t column = 0;
  for (; column + kAtOnce * kLanes <= head.padded; column += kAtOnce * kLanes) {
    weigh_columns<kAtOnce>(head, weights, keys, column, y);
  }
  for (; column < head.padded; column += kLanes) {
    weigh_columns<1>(head, weights, keys, column, y);
  }
}

void attend(const CachedHead& head, const Run& run) {
  const Extents extents(AttentionShape{.length = head.tokens, .head_size = head.size});
  Arena arena(2 * extents.block + extents.scores);
  float* q = arena.take(extents.block);
  float* block = arena.take(extents.block);
  float* scores = arena.take(extents.scores);
  const float scale = 1.0F / std::sqrt(static_cast<float>(head.size));
  for (std::int64_t first = 0; first < run.rows; first += kAttentionQueries) {
    const std::int64_t queries = std::min(kAttentionQueries, run.rows - first);
    const std::int64_t shared = run.position + first + 1;
    pack_rows(head.qkv + first * 3 * head.width, 3 * head.width, queries, head.size, scale, q);
    if (queries == 1) {
      score_one(head, q, shared, scores);
    } else {
      const AttentionBlock all_keys = {run.position + first, queries, 0};
      multiply_panels(q, head.padded, all_keys, head.keys, head.size, scores, extents.score_row);
    }
    std::array<float, kAttentionQueries> inverse_sums;
    for (std::int64_t i = 0; i < queries; ++i) {
      inverse_sums[static_cast<std::size_t>(i)] =
          1.0F / softmax_row(scores + i * extents.score_row, shared + i).sum;
    }
    if (queries == 1) {
      weigh_one(head, scores, shared, block);
    } else {
      multiply_values(head, scores, extents.score_row, queries, shared, block);
    }
    for (std::int64_t i = 0; i < queries; ++i) {
      unpack_row(block + i * head.padded, head.size, inverse_sums[static_cast<std::size_t>(i)],
                 head.y + (first + i) * head.width);
    }
  }
}

}  // namespace

void cached_attention(const Stream& stream, ConstTensorView qkv, IdView slots, IdView positions,
                      std::int64_t heads, std::int64_t head_size, TensorView keys,
                      TensorView values, TensorView y) {
  const std::vector<Run> runs = find_runs(slots, positions, keys.dim(0));
  const std::int64_t all_heads = qkv.dim(0) * heads;
  const std::int64_t rows = qkv.dim(1);
  const std::int64_t width = heads * head_size;
  for_units(stream, static_cast<std::int64_t>(runs.size()) * all_heads, [&](std::int64_t unit) {
    const Run& run = runs[static_cast<std::size_t>(unit / all_heads)];
    const std::int64_t in_slot = unit % all_heads;
    const std::int64_t first = in_slot / heads * rows + run.first;
    const std::int64_t column = in_slot % heads * head_size;
    const std::int64_t cache = (run.slot * all_heads + in_slot) * keys.dim(2) * keys.dim(3);
    const CachedHead head = {qkv.data + first * 3 * width + column,
                             width,
                             head_size,
                             keys.dim(3),
                             keys.dim(2),
                             keys.data + cache,
                             values.data + cache,
                             y.data + first * width + column};
    append(head, run);
    attend(head, run);
  });
}

}  // namespace talaria::model::cpu
