// SPDX-License-Identifier: Apache-2.0
// The two ends of the model, over a vocabulary cut into shards: the embedding on the first stage
// and the tied head with its loss on the last.
#pragma once

#include "model/block.h"

namespace talaria::model {

// Declares tok_embed: a block a shard, padded rows zero. `counted` is false for the last stage's
// copy.
std::int64_t add_token_embedding(const StageSetup& setup, Parameters& parameters, bool counted);

class EmbeddingLayer {
 public:
  // Declares pos_embed; tok_embed lies at `tokens_offset`.
  EmbeddingLayer(const StageSetup& setup, std::int64_t tokens_offset, Parameters& parameters);

  // out [BT, C] from ids [BT]. Collective over tensor.
  void forward(LayerResources& r, const StepContext& step, std::int64_t first_sample, IdView ids,
               TensorView out) const;
  // x [R, C] from ids [R] at `positions` [R], without dropout. Collective over tensor.
  void infer(LayerResources& r, IdView ids, IdView positions, TensorView x) const;
  // d [BT, C] is used as scratch.
  void backward(LayerResources& r, const StepContext& step, std::int64_t first_sample, IdView ids,
                TensorView d) const;

 private:
  StageSetup setup_;
  std::int64_t tokens_;
  std::int64_t positions_;
};

// ln_f, the product with the token embedding, and the mean cross-entropy. The product's gradients
// are taken in the forward pass, a chunk of rows at a time, so that all the logits are never
// stored.
class LanguageModelHead {
 public:
  struct Context {
    TensorView x;  // [BT, C] input; a view of the last block's output, or the stage's input
    TensorView mean, rstd;  // [BT]
    HostBuffer<float> buffer;
    TensorView d_normed;  // [BT, C] gradient of ln_f's output
  };

  LanguageModelHead(const StageSetup& setup, std::int64_t tokens_offset, Parameters& parameters,
                    TokenSums& token_sums);

  Context make_context() const;

  // losses[s] = sum over the tokens of sample s of -log p(target), in f64, for each sample of the
  // micro-batch. In training also accumulates `d_tokens` [V, Vocab/Vall, C], the embedding's
  // gradient as a head, and prepares backward(). Collective over tensor.
  void forward(LayerResources& r, const StepContext& step, IdView targets, Context& ctx,
               float* d_tokens, double* losses) const;
  // d [BT, C] += gradient of ctx.x.
  void backward(LayerResources& r, const Context& ctx, TensorView d) const;

  // The logits of rows x [R, C], gathered over the tensor group: [all V, R, Vocab/Vall], padding
  // included, valid until the arena's reset(). Collective over tensor.
  ConstTensorView infer(LayerResources& r, TensorView x) const;

 private:
  void gather_stats(LayerResources& r, const TensorView& local, const TensorView& all) const;
  std::int64_t chunk_rows() const;

  StageSetup setup_;
  std::int64_t tokens_;
  std::int64_t gain_;
  std::int64_t bias_;
  std::size_t gain_sums_;
  std::size_t bias_sums_;
};

}  // namespace talaria::model
