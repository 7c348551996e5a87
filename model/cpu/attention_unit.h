// SPDX-License-Identifier: Apache-2.0
// What the forward and the backward unit of attention share: where a head lies, how it is packed
// into scratch memory, and the product of queries with packed tokens.
#pragma once

#include <algorithm>
#include <utility>

#include "model/cpu/random.h"
#include "model/cpu/simd.h"
#include "model/cpu/small_product.h"
#include "model/cpu/units.h"
#include "model/ops.h"

namespace talaria::model::cpu {

inline constexpr std::int64_t kKeyPanel = 32;

inline std::int64_t round_up(std::int64_t x, std::int64_t to) { return (x + to - 1) / to * to; }

// Where one head of one sample lies in qkv, y and lse.
struct Head {
  Head(const ConstTensorView& qkv, const AttentionShape& shape, const Dropout& dropout,
       std::int64_t unit) {
    const std::int64_t shards = qkv.dim(1);
    const std::int64_t rows = qkv.dim(2);
    const std::int64_t samples_per_item = rows / shape.length;
    const std::int64_t head = unit % shape.heads;
    const std::int64_t shard = unit / shape.heads % shards;
    const std::int64_t in_batch = unit / shape.heads / shards;
    const std::int64_t first_row = (in_batch / samples_per_item * shards + shard) * rows +
                                   in_batch % samples_per_item * shape.length;
    width = shape.heads * shape.head_size;
    qkv_at = first_row * 3 * width + head * shape.head_size;
    y_at = first_row * width + head * shape.head_size;
    lse_at = first_row * shape.heads + head;
    starts_at = in_batch * shape.length;
    sample = dropout.first_sample + in_batch;
    global_head = shape.first_head + shard * shape.heads + head;
  }

  std::int64_t width;   // of a row of y; a row of qkv is three times as wide
  std::int64_t qkv_at;  // q of the first token; k and v follow `width` apart
  std::int64_t y_at;
  std::int64_t lse_at;
  std::int64_t starts_at;
  std::int64_t sample;
  std::int64_t global_head;
};

// to[t, :] = from[t stride + 0..size) factor; rows of `to` are padded with 0 to a multiple of 16.
inline void pack_rows(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t size,
                      float factor, float* to) {
  const std::int64_t padded = round_up(size, kLanes);
  for (std::int64_t t = 0; t < rows; ++t) {
    for_lanes(size, [&](std::int64_t i, auto lanes) {
      store(to + t * padded + i, load(from + t * stride + i, lanes) * factor, FullLanes{});
    });
  }
}

// to[0..size) = from[0..size) factor
inline void unpack_row(const float* from, std::int64_t size, float factor, float* to) {
  for_lanes(size, [&](std::int64_t i, auto lanes) {
    store(to + i, load(from + i, lanes) * factor, lanes);
  });
}

// Panels of 32 tokens, each [size][32]: the transpose as multiply_small's right operand. Tokens
// beyond `rows` are 0.
inline void pack_transposed(const float* from, std::int64_t stride, std::int64_t rows,
                            std::int64_t size, float* to) {
  for (std::int64_t first = 0; first < rows; first += kKeyPanel) {
    float* panel = to + first * size;
    for (std::int64_t j = 0; j < kKeyPanel; ++j) {
      const float* row = from + (first + j) * stride;
      const bool real = first + j < rows;
      for (std::int64_t i = 0; i < size; ++i) panel[i * kKeyPanel + j] = real ? row[i] : 0.0F;
    }
  }
}

// scores[q, key] = left[q,:] . token(key) for the panels that hold the block's keys; keys beside
// them get numbers that nobody reads.
inline void multiply_panels(const float* left, std::int64_t left_row, const AttentionBlock& block,
                            const float* panels, std::int64_t size, float* scores,
                            std::int64_t scores_row) {
  const std::int64_t end = block.first + block.queries;
  for (std::int64_t first = block.start / kKeyPanel * kKeyPanel; first < end; first += kKeyPanel) {
    multiply_small({.rows = block.queries,
                    .columns = kKeyPanel,
                    .depth = size,
                    .a = left,
                    .a_row = left_row,
                    .b = panels + first * size,
                    .b_row = kKeyPanel,
                    .c = scores + first,
                    .c_row = scores_row});
  }
}

// The random words of one query's probabilities, of keys [start, query].
inline const std::uint32_t* row_words(const Head& head, const AttentionShape& shape,
                                      const Dropout& dropout, std::int64_t start,
                                      std::int64_t query, std::uint32_t* scratch) {
  return random_words(dropout.random, head.sample,
                      (head.global_head * shape.length + query) * shape.length + start,
                      query + 1 - start, scratch);
}

// One thread's scratch memory, cut into the named arrays a unit needs.
struct Extents {
  explicit Extents(const AttentionShape& shape)
      : padded_size(round_up(shape.head_size, kLanes)),
        padded_length(round_up(shape.length, kKeyPanel)),
        score_row(padded_length + kLanes),  // not a multiple of 4 KiB, which would collide in cache
        rows(padded_length * padded_size),
        block(kAttentionQueries * padded_size),
        scores(kAttentionQueries * score_row),
        words(random_scratch_size(shape.length)) {}

  std::int64_t padded_size;
  std::int64_t padded_length;
  std::int64_t score_row;
  std::int64_t rows;    // a whole head, [T, size]
  std::int64_t block;   // a block of its rows
  std::int64_t scores;  // a block's [queries, keys]
  std::int64_t words;
};

class Arena {
 public:
  explicit Arena(std::int64_t floats) : next_(thread_scratch(floats)) {}
  float* take(std::int64_t floats) { return std::exchange(next_, next_ + floats); }

 private:
  float* next_;
};

}  // namespace talaria::model::cpu
