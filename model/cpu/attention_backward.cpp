// SPDX-License-Identifier: Apache-2.0
// Gradient of causal attention. Probabilities are computed again from the kept log-sum-exp. With
// P the probabilities, F the dropout factors, D = dy . y of a query:
//   dv += (P F)^T dy;  dS = P (F (dy v^T) - D);  dq = dS k / sqrt(HS);  dk += dS^T q / sqrt(HS)
// dk and dv accumulate over ascending query blocks.
#include <cmath>

#include "model/cpu/attention_unit.h"
#include "model/cpu/kernels.h"

namespace talaria::model::cpu {
namespace {

// The packed head and the work space of one unit.
struct BackwardUnit {
  BackwardUnit(const AttentionShape& shape, const Extents& extents) {
    Arena arena(7 * extents.rows + 2 * extents.scores + extents.block + extents.words);
    for (float** rows : {&q, &k, &k_panels, &v_panels, &dy, &dk, &dv}) {
      *rows = arena.take(extents.rows);
    }
    scores = arena.take(extents.scores);
    dscores = arena.take(extents.scores);
    dq = arena.take(extents.block);
    words = reinterpret_cast<std::uint32_t*>(arena.take(extents.words));
    scale = 1.0F / std::sqrt(static_cast<float>(shape.head_size));
    std::fill(dk, dk + extents.rows, 0.0F);
    std::fill(dv, dv + extents.rows, 0.0F);
  }

  float *q, *k, *k_panels, *v_panels, *dy, *dk, *dv;  // q is scaled
  float* scores;
  float* dscores;
  float* dq;  // of one block
  std::uint32_t* words;
  float scale;
};

float dot(const float* a, const float* b, std::int64_t count) {
  F16 sum{};
  for_lanes(count, [&](std::int64_t i, auto lanes) {
    sum = fma(load(a + i, lanes), load(b + i, lanes), sum);
  });
  return fold_sum(sum);
}

// scores: q k^T -> P F;  dscores: dy v^T -> dS; both 0 above the diagonal. Of the block's keys.
void score_gradients(const Head& head, const AttentionShape& shape, const Dropout& dropout,
                     const Extents& extents, const BackwardUnit& unit, const AttentionBlock& block,
                     const float* y, const float* lse) {
  const DropoutFactor factor(dropout);
  for (std::int64_t i = 0; i < block.queries; ++i) {
    const std::int64_t query = block.first + i;
    const std::int64_t keys = query + 1 - block.start;
    float* row = unit.scores + i * extents.score_row + block.start;
    float* drow = unit.dscores + i * extents.score_row + block.start;
    const float row_lse = lse[query * shape.heads];
    const float d =
        dot(unit.dy + query * extents.padded_size, y + query * head.width, shape.head_size);
    if (dropout.probability > 0.0F) {
      const std::uint32_t* random = row_words(head, shape, dropout, block.start, query, unit.words);
      for_lanes(keys, [&](std::int64_t j, auto lanes) {
        const F16 p = exp(load(row + j, lanes) - row_lse);
        const F16 f = factor(load(random + j, lanes));
        store(row + j, p * f, lanes);
        store(drow + j, p * (load(drow + j, lanes) * f - d), lanes);
      });
    } else {
      for_lanes(keys, [&](std::int64_t j, auto lanes) {
        const F16 p = exp(load(row + j, lanes) - row_lse);
        store(row + j, p, lanes);
        store(drow + j, p * (load(drow + j, lanes) - d), lanes);
      });
    }
    std::fill(row + keys, row + block.keys(), 0.0F);
    std::fill(drow + keys, drow + block.keys(), 0.0F);
  }
}

// sums[key,:] += sum over the block's queries of weights[query,key] values[query,:]
void add_transposed_product(const float* weights, const Extents& extents,
                            const AttentionBlock& block, const float* values, float* sums) {
  multiply_small({.rows = block.keys(),
                  .columns = extents.padded_size,
                  .depth = block.queries,
                  .a = weights + block.start,
                  .a_row = 1,
                  .a_column = extents.score_row,
                  .b = values,
                  .b_row = extents.padded_size,
                  .c = sums + block.start * extents.padded_size,
                  .c_row = extents.padded_size,
                  .accumulate = true});
}

void attend_backward(const ConstTensorView& dy, const ConstTensorView& qkv,
                     const std::int32_t* starts, const ConstTensorView& y,
                     const ConstTensorView& lse, const AttentionShape& shape,
                     const Dropout& dropout, const Head& head, const TensorView& dqkv) {
  const Extents extents(shape);
  const BackwardUnit unit(shape, extents);
  const std::int64_t size = shape.head_size;
  const std::int64_t padded = extents.padded_size;
  const std::int64_t stride = 3 * head.width;
  const float* from = qkv.data + head.qkv_at;
  float* to = dqkv.data + head.qkv_at;
  pack_rows(from, stride, shape.length, size, unit.scale, unit.q);
  pack_rows(from + head.width, stride, shape.length, size, 1.0F, unit.k);
  pack_transposed(from + head.width, stride, shape.length, size, unit.k_panels);
  pack_transposed(from + 2 * head.width, stride, shape.length, size, unit.v_panels);
  pack_rows(dy.data + head.y_at, head.width, shape.length, size, 1.0F, unit.dy);

  AttentionBlock block;
  for (std::int64_t first = 0; first < shape.length; first += block.queries) {
    block = attention_block(starts, shape.length, first);
    const float* q = unit.q + first * padded;
    const float* dy_block = unit.dy + first * padded;
    multiply_panels(q, padded, block, unit.k_panels, size, unit.scores, extents.score_row);
    multiply_panels(dy_block, padded, block, unit.v_panels, size, unit.dscores, extents.score_row);
    score_gradients(head, shape, dropout, extents, unit, block, y.data + head.y_at,
                    lse.data + head.lse_at);
    add_transposed_product(unit.scores, extents, block, dy_block, unit.dv);
    add_transposed_product(unit.dscores, extents, block, q, unit.dk);
    multiply_small({.rows = block.queries,
                    .columns = padded,
                    .depth = block.keys(),
                    .a = unit.dscores + block.start,
                    .a_row = extents.score_row,
                    .b = unit.k + block.start * padded,
                    .b_row = padded,
                    .c = unit.dq,
                    .c_row = padded});
    for (std::int64_t i = 0; i < block.queries; ++i) {
      unpack_row(unit.dq + i * padded, size, unit.scale, to + (first + i) * stride);
    }
  }
  for (std::int64_t t = 0; t < shape.length; ++t) {
    unpack_row(unit.dk + t * padded, size, 1.0F, to + t * stride + head.width);
    unpack_row(unit.dv + t * padded, size, 1.0F, to + t * stride + 2 * head.width);
  }
}

}  // namespace

void attention_backward(const Stream& stream, ConstTensorView dy, ConstTensorView qkv,
                        IdView starts, ConstTensorView y, ConstTensorView lse,
                        const AttentionShape& shape, const Dropout& dropout, TensorView dqkv) {
  const std::int64_t samples = qkv.dim(0) * qkv.dim(2) / shape.length;
  for_units(stream, samples * qkv.dim(1) * shape.heads, [&](std::int64_t unit) {
    const Head head(qkv, shape, dropout, unit);
    attend_backward(dy, qkv, starts.data + head.starts_at, y, lse, shape, dropout, head, dqkv);
  });
}

}  // namespace talaria::model::cpu
