// SPDX-License-Identifier: Apache-2.0
// Causal attention, one unit a (sample, shard, head). A unit packs its head into scratch memory and
// walks blocks of at most kAttentionQueries queries of one segment, each against the segment's keys
// up to its last query. Lanes are counted from the segment's first key.
#include <array>
#include <cmath>

#include "model/cpu/attention_unit.h"
#include "model/cpu/kernels.h"
#include "model/cpu/softmax.h"

namespace talaria::model::cpu {
namespace {

// The packed head and the work space of one unit.
struct ForwardUnit {
  ForwardUnit(const AttentionShape& shape, const Extents& extents) {
    Arena arena(3 * extents.rows + extents.scores + extents.block + extents.words);
    q = arena.take(extents.rows);
    k = arena.take(extents.rows);
    v = arena.take(extents.rows);
    scores = arena.take(extents.scores);
    block = arena.take(extents.block);
    words = reinterpret_cast<std::uint32_t*>(arena.take(extents.words));
    scale = 1.0F / std::sqrt(static_cast<float>(shape.head_size));
  }

  float *q, *k, *v;  // q is scaled; k in transposed panels
  float* scores;
  float* block;  // of y
  std::uint32_t* words;
  float scale;
};

// Softmax and dropout of one block's rows; the division by the sum is left for y.
void softmax_block(const Head& head, const AttentionShape& shape, const Dropout& dropout,
                   const Extents& extents, const ForwardUnit& unit, const AttentionBlock& block,
                   float* inverse_sums, const TensorView& lse) {
  const DropoutFactor factor(dropout);
  for (std::int64_t i = 0; i < block.queries; ++i) {
    const std::int64_t query = block.first + i;
    const std::int64_t keys = query + 1 - block.start;
    float* row = unit.scores + i * extents.score_row + block.start;
    const SoftmaxRow softmax = softmax_row(row, keys);
    inverse_sums[i] = 1.0F / softmax.sum;
    lse.data[head.lse_at + query * shape.heads] = softmax.lse;
    if (dropout.probability > 0.0F) {
      const std::uint32_t* random = row_words(head, shape, dropout, block.start, query, unit.words);
      for_lanes(keys, [&](std::int64_t j, auto lanes) {
        store(row + j, load(row + j, lanes) * factor(load(random + j, lanes)), lanes);
      });
    }
    std::fill(row + keys, row + block.keys(), 0.0F);
  }
}

void attend(const ConstTensorView& qkv, const std::int32_t* starts, const AttentionShape& shape,
            const Dropout& dropout, const Head& head, const TensorView& y, const TensorView& lse) {
  const Extents extents(shape);
  const ForwardUnit unit(shape, extents);
  const std::int64_t size = shape.head_size;
  const std::int64_t padded = extents.padded_size;
  const float* from = qkv.data + head.qkv_at;
  pack_rows(from, 3 * head.width, shape.length, size, unit.scale, unit.q);
  pack_transposed(from + head.width, 3 * head.width, shape.length, size, unit.k);
  pack_rows(from + 2 * head.width, 3 * head.width, shape.length, size, 1.0F, unit.v);

  AttentionBlock block;
  for (std::int64_t first = 0; first < shape.length; first += block.queries) {
    block = attention_block(starts, shape.length, first);
    std::array<float, kAttentionQueries> inverse_sums;
    multiply_panels(unit.q + first * padded, padded, block, unit.k, size, unit.scores,
                    extents.score_row);
    softmax_block(head, shape, dropout, extents, unit, block, inverse_sums.data(), lse);
    multiply_small({.rows = block.queries,
                    .columns = padded,
                    .depth = block.keys(),
                    .a = unit.scores + block.start,
                    .a_row = extents.score_row,
                    .b = unit.v + block.start * padded,
                    .b_row = padded,
                    .c = unit.block,
                    .c_row = padded});
    for (std::int64_t i = 0; i < block.queries; ++i) {
      unpack_row(unit.block + i * padded, size, inverse_sums[static_cast<std::size_t>(i)],
                 y.data + head.y_at + (first + i) * head.width);
    }
  }
}

}  // namespace

void attention(const Stream& stream, ConstTensorView qkv, IdView starts,
               const AttentionShape& shape, const Dropout& dropout, TensorView y, TensorView lse) {
  const std::int64_t samples = qkv.dim(0) * qkv.dim(2) / shape.length;
  for_units(stream, samples * qkv.dim(1) * shape.heads, [&](std::int64_t unit) {
    const Head head(qkv, shape, dropout, unit);
    attend(qkv, starts.data + head.starts_at, shape, dropout, head, y, lse);
  });
}

}  // namespace talaria::model::cpu
