// SPDX-License-Identifier: Apache-2.0
#include "model/embedding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

namespace talaria::model {
namespace {

// Rows of logits held at once: enough to keep the product efficient, few enough for the cache.
constexpr std::int64_t kChunkRows = 256;

std::span<float> values(const TensorView& view) {
  return {view.data, static_cast<std::size_t>(view.count())};
}

}  // namespace

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

void EmbeddingLayer::forward(LayerResources& r, const StepContext& step, std::int64_t first_sample,
                             IdView ids, TensorView out) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  embed(r.stream, ids, r.parameters.weight(tokens_, {setup_.shards() * rows, c}),
        setup_.first_shard() * rows, out);
  r.tensor.all_reduce_sum(values(out));
  position_dropout(r.stream, out, r.parameters.weight(positions_, {setup_.config.context, c}),
                   setup_.length, step.site(kEmbeddingDropout, first_sample), out);
}

void EmbeddingLayer::infer(LayerResources& r, IdView ids, IdView positions, TensorView x) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  r.arena.reset();
  const TensorView added = r.arena.take({x.dim(0), c});
  embed(r.stream, ids, r.parameters.weight(tokens_, {setup_.shards() * rows, c}),
        setup_.first_shard() * rows, x);
  r.tensor.all_reduce_sum(values(x));
  embed(r.stream, positions, r.parameters.weight(positions_, {setup_.config.context, c}), 0, added);
  add_into(r.stream, x, added);
}

void EmbeddingLayer::backward(LayerResources& r, const StepContext& step, std::int64_t first_sample,
                              IdView ids, TensorView d) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t rows = setup_.vocab_per_shard();
  dropout_backward(r.stream, d, setup_.length, step.site(kEmbeddingDropout, first_sample), d);
  position_backward(r.stream, d, setup_.length,
                    r.parameters.gradient(positions_, {setup_.config.context, c}));
  embed_backward(r.stream, ids, d, setup_.first_shard() * rows,
                 r.parameters.gradient(tokens_, {setup_.shards() * rows, c}));
}

LanguageModelHead::LanguageModelHead(const StageSetup& setup, std::int64_t tokens_offset,
                                     Parameters& parameters, TokenSums& token_sums)
    : setup_(setup), tokens_(tokens_offset) {
  const std::int64_t c = setup.config.hidden;
  const auto add = [&](const char* name, float value) {
    const std::int64_t offset = parameters.begin_weight();
    parameters.add_block({name, {c, 1}, true, 0.0, value, false, 1}, {{0, 0}, {c, 1}}, c,
                         setup.at.tensor == 0);
    return offset;
  };
  gain_ = add("ln_f.weight", 1.0F);
  bias_ = add("ln_f.bias", 0.0F);
  gain_sums_ = token_sums.add(gain_, c);
  bias_sums_ = token_sums.add(bias_, c);
}

LanguageModelHead::Context LanguageModelHead::make_context() const {
  const std::int64_t bt = setup_.tokens();
  const std::int64_t c = setup_.config.hidden;
  Context ctx;
  ctx.buffer = HostBuffer<float>(bt * (c + 2));
  ctx.d_normed = {ctx.buffer.data(), {bt, c}};
  ctx.mean = {ctx.buffer.data() + bt * c, {bt}};
  ctx.rstd = {ctx.buffer.data() + bt * c + bt, {bt}};
  return ctx;
}

std::int64_t LanguageModelHead::chunk_rows() const {
  return std::min(setup_.rows_per_item(), kChunkRows);
}

void LanguageModelHead::gather_stats(LayerResources& r, const TensorView& local,
                                     const TensorView& all) const {
  std::memcpy(all.data + r.tensor.rank() * local.count(), local.data,
              static_cast<std::size_t>(local.count()) * sizeof(float));
  r.tensor.all_gather(std::as_writable_bytes(values(all)));
}

void LanguageModelHead::forward(LayerResources& r, const StepContext& step, IdView targets,
                                Context& ctx, float* d_tokens, double* losses) const {
  const std::int64_t bt = setup_.tokens();
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t part = setup_.vocab_per_shard();
  const std::int64_t first_row = setup_.first_shard() * part;
  const std::int64_t vocab = setup_.config.vocab;
  const float scale =
      static_cast<float>(1.0 / static_cast<double>(setup_.global_batch * setup_.length));
  const TensorView embedding = r.parameters.weight(tokens_, {v, part, c});

  r.arena.reset();
  const TensorView normed = r.arena.take({bt, c});
  const TensorView logits = r.arena.take({v * chunk_rows() * part});
  const TensorView partial = r.arena.take({v * chunk_rows() * c});
  const TensorView stats = r.arena.take({v * chunk_rows() * 3});
  const TensorView all_stats = r.arena.take({setup_.numerics.virtual_shards * chunk_rows() * 3});
  const TensorView lse = r.arena.take({bt});
  const TensorView token_losses = r.arena.take({bt});
  layernorm(r.stream, ctx.x, r.parameters.weight(gain_, {c}), r.parameters.weight(bias_, {c}),
            normed, ctx.mean, ctx.rstd);

  // Chunks never cross an item, so a chunk has the same rows in every layout.
  for (std::int64_t row = 0; row < bt;) {
    const std::int64_t item_end = (row / setup_.rows_per_item() + 1) * setup_.rows_per_item();
    const std::int64_t rows = std::min(chunk_rows(), item_end - row);
    const TensorView x(normed.data + row * c, {1, 1, rows, c});
    const TensorView z(logits.data, {1, v, rows, part});
    const TensorView z3(logits.data, {v, rows, part});
    const TensorView local(stats.data, {v, rows, 3});
    const TensorView all(all_stats.data, {setup_.numerics.virtual_shards, rows, 3});
    const TensorView chunk_lse(lse.data + row, {rows});
    const TensorView chunk_losses(token_losses.data + row, {rows});
    const IdView chunk_targets(targets.data + row, {rows});

    matmul_nt(r.stream, x, embedding, z);
    cross_entropy_stats(r.stream, z3, chunk_targets, first_row, vocab, local);
    gather_stats(r, local, all);
    cross_entropy_losses(r.stream, all, chunk_lse, chunk_losses);
    if (step.training) {
      cross_entropy_backward(r.stream, z3, chunk_targets, chunk_lse, first_row, vocab, scale);
      matmul_tn_add(r.stream, z, x, TensorView(d_tokens, {v, part, c}));
      const TensorView chunk_partial(partial.data, {1, v, rows, c});
      matmul_nn(r.stream, z, embedding, chunk_partial);
      tree_sum_shards(r.stream, chunk_partial, {ctx.d_normed.data + row * c, {1, rows, c}});
    }
    row += rows;
  }
  if (step.training) r.tensor.all_reduce_sum(values(ctx.d_normed));

  for (std::int64_t s = 0; s < setup_.micro_batch; ++s) {
    double sum = 0.0;
    for (std::int64_t t = 0; t < setup_.length; ++t) {
      sum += static_cast<double>(token_losses.data[s * setup_.length + t]);
    }
    losses[s] = sum;
  }
}

void LanguageModelHead::backward(LayerResources& r, const Context& ctx, TensorView d) const {
  layernorm_backward(
      r.stream, ctx.d_normed, ctx.x, r.parameters.weight(gain_, {setup_.config.hidden}), ctx.mean,
      ctx.rstd, setup_.length, d, r.token_sums.view(gain_sums_), r.token_sums.view(bias_sums_));
}

ConstTensorView LanguageModelHead::infer(LayerResources& r, TensorView x) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t part = setup_.vocab_per_shard();
  const std::int64_t rows = x.dim(0);
  r.arena.reset();
  const TensorView normed = r.arena.take({rows, c});
  const TensorView mean = r.arena.take({rows});
  const TensorView rstd = r.arena.take({rows});
  const TensorView all = r.arena.take({setup_.numerics.virtual_shards, rows, part});
  layernorm(r.stream, x, r.parameters.weight(gain_, {c}), r.parameters.weight(bias_, {c}), normed,
            mean, rstd);
  const TensorView local(all.data + r.tensor.rank() * v * rows * part, {v, rows, part});
  matmul_rows(r.stream, TensorView(normed.data, {1, rows, c}),
              r.parameters.weight(tokens_, {v, part, c}), local);
  r.tensor.all_gather(std::as_writable_bytes(values(all)));
  return all;
}

}  // namespace talaria::model
