// SPDX-License-Identifier: Apache-2.0
#include "model/embedding.h"

#include <algorithm>
#include <span>

namespace talaria::model {
std::int64_t add_token_embedding(const StageSetup& setup, Parameters& parameters, bool counted) {
  const std::int64_t c = setup.config.hidden;
  const std::int64_t vocab = setup.config.vocab;
  const std::int64_t rows = setup.vocab_per_shard();
  const TensorSpec tensor = {"tok_embed", {vocab, c}, false, 0.02, 0.0F, true, c};
  const std::int64_t offset = parameters.begin_weight();
  for (std::int64_t v = 0; v < setup.shards(); ++v) {
    const std::int64_t first = std::min((setup.first_shard() + v) * rows, vocab);
    const std::int64_t real = std::min(rows, vocab - first);
    parameters.add_block(tensor, {{first, 0}, {real, c}}, rows, counted);
  }
  return offset;
}

EmbeddingLayer::EmbeddingLayer(const StageSetup& setup, std::int64_t tokens_offset,
                               Parameters& parameters)
    : setup_(setup), tokens_(tokens_offset), positions_(parameters.begin_weight()) {
  const GptConfig& config = setup.config;
  parameters.add_block(
      {"pos_embed", {config.context, config.hidden}, false, 0.01, 0.0F, true, config.hidden},
      {{0, 0}, {config.context, config.hidden}}, config.context, setup.at.tensor == 0);
}

void EmbeddingLayer::forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                             TensorView out) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  embed(r.stream, batch.inputs, r.parameters.weight(tokens_, {setup_.shards() * rows, c}),
        setup_.first_shard() * rows, out);
  r.tensor.all_reduce_sum(std::span(out.data, static_cast<std::size_t>(out.count())));
  position_dropout(r.stream, out, batch.positions,
                   r.parameters.weight(positions_, {setup_.config.context, c}), setup_.length,
                   step.site(kEmbeddingDropout, batch.first_sample), out);
}

void EmbeddingLayer::infer(LayerResources& r, IdView ids, IdView positions, TensorView x) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  r.arena.reset();
  const TensorView added = r.arena.take({x.dim(0), c});
  embed(r.stream, ids, r.parameters.weight(tokens_, {setup_.shards() * rows, c}),
        setup_.first_shard() * rows, x);
  r.tensor.all_reduce_sum(std::span(x.data, static_cast<std::size_t>(x.count())));
  embed(r.stream, positions, r.parameters.weight(positions_, {setup_.config.context, c}), 0, added);
  add_into(r.stream, x, added);
}

void EmbeddingLayer::backward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                              TensorView d) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  dropout_backward(r.stream, d, setup_.length, step.site(kEmbeddingDropout, batch.first_sample), d);
  embed_backward(r.stream, batch.positions, d, 0,
                 r.parameters.gradient(positions_, {setup_.config.context, c}));
  embed_backward(r.stream, batch.inputs, d, setup_.first_shard() * rows,
                 r.parameters.gradient(tokens_, {setup_.shards() * rows, c}));
}

}  // namespace talaria::model
