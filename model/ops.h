// SPDX-License-Identifier: Apache-2.0
// Every operation of the model, declared once. All tensors are dense row-major f32. Shapes:
//   n   items: a product's outer batch. One sample each in invariant numerics, the whole
//   micro-batch
//       as one item in fast numerics.
//   R   rows (tokens) of an item: T in invariant numerics, micro_batch x T in fast.
//   V   virtual shards held by this rank; NHv heads of one virtual shard.
// A sample s of a micro-batch lies in item s / (R/T), rows (s % (R/T)) T .. + T.
// "+=" marks what accumulates. Sums run in the stated order whatever the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cluster/base/thread_pool.h"
#include "cluster/device/tensor.h"
#include "model/philox.h"

namespace talaria::model {

// Where an operation runs. The CPU backend runs its units on `pool`; a product is one unit computed
// by one thread, unless there is a single unit and `split_products` lets the library use all
// threads.
struct Stream {
  DeviceKind device = DeviceKind::kCpu;
  ThreadPool* pool = nullptr;
  bool split_products = false;
  // Multiply-adds of the products issued, counted as 2 FLOPs each: 2 n V R N K for a product, and
  // for attention what attention_pairs() says.
  std::uint64_t* matmul_flops = nullptr;
};

// Dropout of one site. `first_sample` is the index in the global batch of the micro-batch's first
// sample. probability 0 turns it off. Kept elements are scaled by 1 / (1 - probability).
struct Dropout {
  float probability = 0.0F;
  PhiloxStream random;
  std::int64_t first_sample = 0;
};

// --- products. Leading dims of 1 broadcast over items or shards. ---------------------------------

// c[n,v] = a[n,v] b[v]^T.   a [n, 1|V, R, K], b [V, N, K] -> c [n, V, R, N]
void matmul_nt(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
// c[n,v] = a[n,v] b[v].     a [n, 1|V, R, K], b [V, K, N] -> c [n, V, R, N]
void matmul_nn(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);
// c[v] += sum over n ascending of a[n,v]^T b[n,v], rows being summed inside the product.
//                           a [n, 1|V, R, M], b [n, 1|V, R, N] -> c [V, M, N]
void matmul_tn_add(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);

// out[n] = balanced tree over v of partial[n,v].   partial [n, V, R, N] -> out [n, R, N]
// V may be any number >= 1; the tree of V elements is tree(first ceil2) + tree(rest) where ceil2 is
// the largest power of two below V. `partial` is used as scratch.
void tree_sum_shards(const Stream& stream, TensorView partial, TensorView out);

// --- biases and factors --------------------------------------------------------------------------

// x[n,v,r,:] += bias[v,:].  x [n, V, R, N], bias [V, N]
void add_bias(const Stream& stream, TensorView x, ConstTensorView bias);
// dbias[v,:] += sum over n, r ascending of dy[n,v,r,:].   dy [n, V, R, N] -> dbias [V, N]
void add_bias_backward(const Stream& stream, ConstTensorView dy, TensorView dbias);
// x[r,:] *= factors[r].   factors [rows], x [rows, C]
void scale_rows(const Stream& stream, ConstTensorView factors, TensorView x);

// Token sums of a replicated parameter: token t of its sample (0 <= t < T) adds to chunk
// t / (T / chunks); samples ascending, tokens ascending.  dy [rows, C] -> sums [chunks, C]
void token_sums(const Stream& stream, ConstTensorView dy, std::int64_t length, TensorView sums);

// --- pointwise -----------------------------------------------------------------------------------

// GELU, tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Any shape.
void gelu(const Stream& stream, ConstTensorView x, TensorView y);
// dx = dy * gelu'(x). dx may be dy.
void gelu_backward(const Stream& stream, ConstTensorView x, ConstTensorView dy, TensorView dx);

// y = residual + dropout(x + bias). Element of a sample: t C + c. y may be residual or x.
//   x, residual, y [rows, C], bias [C]; rows = samples x length.
void bias_dropout_residual(const Stream& stream, ConstTensorView x, ConstTensorView bias,
                           ConstTensorView residual, std::int64_t length, const Dropout& dropout,
                           TensorView y);
// dx = dropout mask of dy, scaled; the same elements. dx may be dy.  [rows, C]
void dropout_backward(const Stream& stream, ConstTensorView dy, std::int64_t length,
                      const Dropout& dropout, TensorView dx);

// a += b. Any shape.
void add_into(const Stream& stream, TensorView a, ConstTensorView b);

// --- LayerNorm (eps 1e-5) ------------------------------------------------------------------------

// y = (x - mean) * rstd * gain + bias.   x, y [rows, C], gain, bias [C], mean, rstd [rows]
void layernorm(const Stream& stream, ConstTensorView x, ConstTensorView gain, ConstTensorView bias,
               TensorView y, TensorView mean, TensorView rstd);
// dx += gradient of x; gain_sums, bias_sums [chunks, C] as in token_sums.
void layernorm_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                        ConstTensorView gain, ConstTensorView mean, ConstTensorView rstd,
                        std::int64_t length, TensorView dx, TensorView gain_sums,
                        TensorView bias_sums);

// --- attention -----------------------------------------------------------------------------------

struct AttentionShape {
  std::int64_t length = 0;       // T
  std::int64_t heads = 0;        // NHv, heads of one virtual shard
  std::int64_t head_size = 0;    // HS
  std::int64_t first_head = 0;   // global index of the first head of the first local shard
  std::int64_t total_heads = 0;  // NH
};
// Queries [first, first + queries) of a sample, which meet keys [start, first + queries).
struct AttentionBlock {
  std::int64_t first = 0;
  std::int64_t queries = 0;
  std::int64_t start = 0;

  std::int64_t keys() const { return first + queries - start; }
};
// The most queries of a block of attention. A block lies in one segment.
inline constexpr std::int64_t kAttentionQueries = 48;
// The block that begins at query `first` of a sample whose `starts` are given [T].
inline AttentionBlock attention_block(const std::int32_t* starts, std::int64_t length,
                                      std::int64_t first) {
  const std::int64_t most = std::min(length, first + kAttentionQueries);
  std::int64_t end = first + 1;
  while (end < most && starts[end] == starts[first]) ++end;
  return {first, end - first, starts[first]};
}
// The (query, key) pairs of one head that the blocks of all samples compute, about T (T + 48) / 2
// for a sample of one segment. FLOPs are counted on them: 4 HS a pair forward (two products), 10 HS
// backward (five).  starts [samples T]
std::int64_t attention_pairs(IdView starts, std::int64_t length);

// Causal softmax(q k^T / sqrt(HS)) v inside segments, with dropout on the probabilities; blocked
// over query rows, T x T is never stored for all heads. One unit is one (sample, shard, head).
//   qkv [n, V, R, 3 NHv HS]: a row is q heads, then k heads, then v heads
//   starts [n R]: query t of a sample meets its keys [starts[t], t]; 0 <= starts[t] <= t, never
//     falling inside a sample
//   y [n, V, R, NHv HS], lse [n, V, R, NHv]: log-sum-exp of the scaled scores, kept for backward
// Dropout element of a sample: (head T + query) T + key, head being global. No output depends on
// what keys outside its range hold; without dropout a segment has the same bits wherever it lies.
void attention(const Stream& stream, ConstTensorView qkv, IdView starts,
               const AttentionShape& shape, const Dropout& dropout, TensorView y, TensorView lse);
// dqkv = gradient of qkv (overwritten).  y is the forward output.
void attention_backward(const Stream& stream, ConstTensorView dy, ConstTensorView qkv,
                        IdView starts, ConstTensorView y, ConstTensorView lse,
                        const AttentionShape& shape, const Dropout& dropout, TensorView dqkv);

// --- inference over rows of many sequences -------------------------------------------------------

// c[v] = a[v] b[v]^T.   a [1|V, R, K], b [V, N, K] -> c [V, R, N]
// Sixteen lanes: lane l sums k = l, l + 16, ... by FMA in ascending order, then lanes 8, 4, 2 and 1
// apart meet. So an element's bits follow from its row of a and its row of b alone: not from R,
// from what other rows hold, or from threads. Made for few rows: b is read from memory once.
void matmul_rows(const Stream& stream, ConstTensorView a, ConstTensorView b, TensorView c);

// A layer's cache is keys and values [slots, V NHv, L, S]: L tokens, a multiple of kCacheTokens, of
// heads padded to S, the next multiple of kCacheLanes. The order inside [L, S] is the backend's.
inline constexpr std::int64_t kCacheTokens = 32;
inline constexpr std::int64_t kCacheLanes = 16;

// Stores k and v of row r as token positions[r] of slot slots[r], then attends: y[r] =
// softmax(q k^T / sqrt(HS)) v over the tokens 0..positions[r] of that slot, with the sums of
// `attention` in the same order. A slot's rows lie together, at consecutive positions; its earlier
// tokens must be in the cache.
//   qkv [V, R, 3 NHv HS], slots, positions [R] -> y [V, R, NHv HS]
void cached_attention(const Stream& stream, ConstTensorView qkv, IdView slots, IdView positions,
                      std::int64_t heads, std::int64_t head_size, TensorView keys,
                      TensorView values, TensorView y);

// --- embeddings ----------------------------------------------------------------------------------

// y[r,:] = table[id - first_row,:] where the id lies in this table, else 0. A zero keeps sign +.
//   ids [rows], table [table_rows, C] -> y [rows, C]
void embed(const Stream& stream, IdView ids, ConstTensorView table, std::int64_t first_row,
           TensorView y);
// dtable[id - first_row,:] += dy[r,:], rows ascending.
void embed_backward(const Stream& stream, IdView ids, ConstTensorView dy, std::int64_t first_row,
                    TensorView dtable);
// y = dropout(x + table[positions[r],:]).  x, y [rows, C], table [context, C], positions [rows],
// each in [0, context). The table's gradient is embed_backward of dropout_backward.
void position_dropout(const Stream& stream, ConstTensorView x, IdView positions,
                      ConstTensorView table, std::int64_t length, const Dropout& dropout,
                      TensorView y);

// --- cross-entropy over a sharded vocabulary -----------------------------------------------------

// Per shard and row: the maximum m, sum of exp(logit - m), the target's logit (-inf where the
// target lies in another shard) and, where stats has a fourth column, sum of exp(logit - m) (logit
// - m). Columns at or beyond `vocab` (padding) do not take part; a shard of padding only gives
// (-inf, 0, -inf, 0).   logits [V, R, N], targets [R] -> stats [V, R, 3 | 4]
// Shard v holds vocabulary rows first_row + v N .. + N.
void cross_entropy_stats(const Stream& stream, ConstTensorView logits, IdView targets,
                         std::int64_t first_row, std::int64_t vocab, TensorView stats);
// From the stats of all shards, in order: M = max over shards, Z = tree over shards of
// z_v exp(m_v - M), lse = M + log Z, loss = lse - logit(target).
//   stats [All, R, 3] -> lse [R], losses [R]
// With stats [All, R, 4] also the entropy H = -sum p log p = log Z - W / Z, W being the tree over
// shards of exp(m_v - M) (w_v + (m_v - M) z_v).   -> entropies [R], else a view without data
void cross_entropy_losses(const Stream& stream, ConstTensorView stats, TensorView lse,
                          TensorView losses, TensorView entropies = {});
// Row r of the gradient, 0 for padding, in place of the logits; scales [R] = dL / dloss:
//   (p - [target]) scales_r,   p = exp(logit - lse)
// With entropies and entropy_scales [R] = dL / dH also  - p (log p + H_r) entropy_scales_r.
void cross_entropy_backward(const Stream& stream, TensorView logits, IdView targets,
                            ConstTensorView lse, std::int64_t first_row, std::int64_t vocab,
                            ConstTensorView scales, ConstTensorView entropies = {},
                            ConstTensorView entropy_scales = {});

// --- a scalar of every row -----------------------------------------------------------------------

// y[r] = sum over c of x[r,c] weight[c] + bias, lanes folded in a fixed order.
//   x [rows, C], weight [C], bias [1] -> y [rows]
void row_dots(const Stream& stream, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
              TensorView y);
// dx[r,:] = dy[r] weight (overwritten). weight_sums [chunks, C] and bias_sums [chunks, 1] of
// dy[r] x[r,:] and dy[r], as in token_sums.   dy [rows], dx [rows, C]
void row_dots_backward(const Stream& stream, ConstTensorView dy, ConstTensorView x,
                       ConstTensorView weight, std::int64_t length, TensorView dx,
                       TensorView weight_sums, TensorView bias_sums);

// --- optimizer -----------------------------------------------------------------------------------

struct AdamW {
  float learning_rate = 0.0F;
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float eps = 1e-8F;
  float weight_decay = 0.0F;
  float correction1 = 1.0F;     // 1 - beta1^step, step from 1
  float correction2 = 1.0F;     // 1 - beta2^step
  float gradient_scale = 1.0F;  // global-norm clipping
};
// Loshchilov and Hutter 2019 (arXiv:1711.05101), decoupled decay, PyTorch's placing of eps:
//   g = gradient * gradient_scale;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   w = w - lr (m / c1 / (sqrt(v / c2) + eps) + decay w).  Any one shape for all four.
void adamw(const Stream& stream, const AdamW& config, TensorView weight, ConstTensorView gradient,
           TensorView m, TensorView v);

// sums[r] = sum of squares of row r in f64, lanes folded in a fixed order.  x [rows, cols]
void row_sums_of_squares(const Stream& stream, ConstTensorView x, Tensor<double> sums);

}  // namespace talaria::model
