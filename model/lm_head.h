// SPDX-License-Identifier: Apache-2.0
// The head of a language model: the product of ln_f's output with the token embedding, over a
// vocabulary cut into shards, and an objective of the targets' log-probabilities. The product's
// gradients are taken in the forward pass, a chunk of rows at a time, so that all the logits are
// never stored.
#pragma once

#include <optional>
#include <vector>

#include "model/head.h"

namespace talaria::model {

class LanguageModelHead final : public Head {
 public:
  // tok_embed lies at `tokens_offset`.
  LanguageModelHead(const StageSetup& setup, std::int64_t tokens_offset, Parameters& parameters,
                    TokenSums& token_sums);

  void begin(const StepContext& step, HeadPass& pass) override;
  void forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
               HeadContext& ctx, HeadPass& pass) override;
  void backward(LayerResources& r, const HeadContext& ctx, TensorView d) override;
  void finish_group(const Stream& stream) override;
  float* tied_gradient() override { return gradient_.data(); }
  std::int64_t gradient_bytes() const override;

  // The logits of rows x [R, C], gathered over the tensor group: [all V, R, Vocab/Vall], padding
  // included, valid until the arena's reset(). Collective over tensor.
  ConstTensorView infer(LayerResources& r, TensorView x) const;

 private:
  // Scratch of one chunk of rows.
  struct Chunk {
    TensorView logits, partial, stats, all_stats;
    TensorView lse, losses, d_nll, d_entropy;  // [rows]
  };
  Chunk take_chunk(Arena& arena, std::int64_t stats) const;
  // Rows [row, row + rows) of the micro-batch, `normed` being ln_f's output.
  void forward_rows(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                    const Chunk& chunk, ConstTensorView normed, std::int64_t row, std::int64_t rows,
                    HeadContext& ctx, HeadPass& pass);
  // Fills the chunk's losses and derivatives from the rows' nll and entropies.
  void ask_objective(const Chunk& chunk, std::int64_t first_token, std::int64_t rows,
                     const HeadPass& pass) const;
  void gather_stats(LayerResources& r, const TensorView& local, const TensorView& all) const;
  std::int64_t chunk_rows() const;
  std::int64_t token_count() const;  // elements of this rank's tok_embed

  std::int64_t tokens_;
  HostBuffer<float> gradient_;
  std::optional<GroupFold> fold_;
};

}  // namespace talaria::model
