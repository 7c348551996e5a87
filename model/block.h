// SPDX-License-Identifier: Apache-2.0
// One transformer block of a stage: x + proj(attention(ln1 x)), then x + proj(gelu(fc(ln2 x))).
// Forward and backward stand side by side in block.cpp; what backward needs lies in a BlockContext
// per micro-batch. Column-parallel: q, k, v, fc. Row-parallel: both proj (Shoeybi et al. 2019,
// arXiv:1909.08053).
#pragma once

#include "model/arena.h"
#include "model/gradient_fold.h"
#include "model/parameters.h"
#include "model/stage_setup.h"

namespace talaria::model {

// Everything a layer call may use.
struct LayerResources {
  Stream stream;
  parallel::Communicator& tensor;  // the tensor-parallel group
  Parameters& parameters;
  TokenSums& token_sums;
  Arena& arena;
};

// What layers are told about the tokens of a micro-batch, [BT] each.
struct MicroBatch {
  std::int64_t first_sample = 0;  // in the global batch: names the random bits
  std::int64_t first_token = 0;   // in the data rank's batch, counted over [samples, T]
  IdView inputs;
  IdView targets;
  IdView starts;
  IdView positions;  // in the segment: t - starts[t]
};

// Activations of one micro-batch. n items of R rows (B T = n R tokens), V local shards.
struct BlockContext {
  TensorView x;             // [BT, C]  input; a view of the layer below's output
  TensorView normed1;       // [BT, C]  ln1 output
  TensorView mean1, rstd1;  // [BT]
  TensorView qkv;           // [n, V, R, 3 C/Vall]
  TensorView heads;         // [n, V, R, C/Vall]  attention output
  TensorView lse;           // [n, V, R, NH/Vall]
  TensorView middle;        // [BT, C]  after the attention half
  TensorView normed2;       // [BT, C]
  TensorView mean2, rstd2;  // [BT]
  TensorView fc;            // [n, V, R, F/Vall]  before GELU
  TensorView gelu;          // [n, V, R, F/Vall]
  TensorView out;           // [BT, C]
};

// Rows [R] of an inference pass: each one's sequence and place in it, as cached_attention
// (model/ops.h) wants them.
struct SequenceRows {
  IdView slots;
  IdView positions;

  std::int64_t count() const { return slots.dim(0); }
};

// The keys and values of one layer: [slots, V NHv, L, S] each, see model/ops.h.
struct LayerCache {
  TensorView keys;
  TensorView values;
};

class TransformerBlock {
 public:
  // Declares its parameters, in order.
  TransformerBlock(const StageSetup& setup, std::int64_t layer, Parameters& parameters,
                   TokenSums& token_sums);

  // Elements of a context's buffers, and the context cut out of `buffer`.
  std::int64_t context_count() const;
  BlockContext make_context(float* buffer, std::int64_t* used = nullptr) const;

  // ctx.out from ctx.x. Collective over tensor.
  void forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
               BlockContext& ctx) const;
  // The same function for inference: x [R, C] becomes the block's output, without dropout; keys and
  // values of the rows go to the cache. Products are matmul_rows, so a row's bits do not depend on
  // the other rows; from `forward` they differ by rounding. Collective over tensor.
  void infer(LayerResources& r, const SequenceRows& rows, const LayerCache& cache,
             TensorView x) const;
  // d [BT, C]: on entry the gradient of ctx.out, on return that of ctx.x. Parameter gradients
  // accumulate. Collective over tensor.
  void backward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                const BlockContext& ctx, TensorView d) const;

 private:
  // Offsets in the flat buffer, and numbers of token sums.
  struct Vector {
    std::int64_t offset = 0;
    std::size_t sums = 0;
  };
  void attention_backward_half(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                               const BlockContext& ctx, TensorView d) const;
  void mlp_backward_half(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                         const BlockContext& ctx, TensorView d) const;
  AttentionShape attention_shape() const;
  TensorView as_items(const TensorView& tokens) const;  // [BT, C] -> [n, 1, R, C]

  StageSetup setup_;
  std::int64_t layer_;
  std::int64_t qkv_weight_, qkv_bias_, proj_weight_, fc_weight_, fc_bias_, mlp_weight_;
  Vector ln1_weight_, ln1_bias_, proj_bias_, ln2_weight_, ln2_bias_, mlp_bias_;
};

// Sums row-parallel partials [n, V, R, C] over this rank's shards and the tensor group into out
// [BT, C]. Collective over tensor.
void sum_partials(LayerResources& r, TensorView partial, TensorView out);

}  // namespace talaria::model
