// SPDX-License-Identifier: Apache-2.0
// The beginning of the model, on the first stage: token embedding, over a vocabulary cut into
// shards, and positions.
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

  // out [BT, C] from the batch's inputs and positions. Collective over tensor.
  void forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
               TensorView out) const;
  // x [R, C] from ids [R] at `positions` [R], without dropout. Collective over tensor.
  void infer(LayerResources& r, IdView ids, IdView positions, TensorView x) const;
  // d [BT, C] is used as scratch.
  void backward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                TensorView d) const;

 private:
  StageSetup setup_;
  std::int64_t tokens_;
  std::int64_t positions_;
};

}  // namespace talaria::model
