// SPDX-License-Identifier: Apache-2.0
#include "model/lm_head.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace talaria::model {
namespace {

// Rows of logits held at once: enough to keep the product efficient, few enough for the cache.
constexpr std::int64_t kChunkRows = 256;

std::span<float> values(const TensorView& view) {
  return {view.data, static_cast<std::size_t>(view.count())};
}

bool wants_entropy(const PassObjective& objective) {
  return objective.entropy || (objective.tokens != nullptr && objective.tokens->uses_entropy());
}

}  // namespace

LanguageModelHead::LanguageModelHead(const StageSetup& setup, std::int64_t tokens_offset,
                                     Parameters& parameters, TokenSums& token_sums)
    : Head(setup, parameters, token_sums), tokens_(tokens_offset) {
  if (setup.frozen) return;
  gradient_ = HostBuffer<float>(token_count());
  fold_.emplace(token_count(), setup.local_groups());
}

std::int64_t LanguageModelHead::token_count() const {
  return setup().shards() * setup().vocab_per_shard() * setup().config.hidden;
}

std::int64_t LanguageModelHead::chunk_rows() const {
  return std::min(setup().rows_per_item(), kChunkRows);
}

std::int64_t LanguageModelHead::gradient_bytes() const {
  return gradient_.count() * static_cast<std::int64_t>(sizeof(float)) +
         (fold_ ? fold_->bytes() : 0);
}

void LanguageModelHead::finish_group(const Stream& stream) {
  fold_->finish_group(stream, gradient_.data());
}

void LanguageModelHead::gather_stats(LayerResources& r, const TensorView& local,
                                     const TensorView& all) const {
  std::memcpy(all.data + r.tensor.rank() * local.count(), local.data,
              static_cast<std::size_t>(local.count()) * sizeof(float));
  r.tensor.all_gather(std::as_writable_bytes(values(all)));
}

void LanguageModelHead::begin(const StepContext& step, HeadPass& pass) {
  TALARIA_CHECK(!step.training || pass.objective.tokens != nullptr, "no objective");
  const std::size_t scales = pass.objective.logit_scales.size();
  TALARIA_CHECK(scales == 0 || scales == pass.batch->inputs.size(), "{} factors of {} logits",
                scales, pass.batch->inputs.size());
  pass.losses.assign(static_cast<std::size_t>(pass.batch->samples()), 0.0);
  pass.nll.assign(pass.batch->inputs.size(), 0.0F);
  pass.entropy.assign(wants_entropy(pass.objective) ? pass.batch->inputs.size() : 0, 0.0F);
  if (step.training) gradient_.clear();
}

LanguageModelHead::Chunk LanguageModelHead::take_chunk(Arena& arena, std::int64_t stats) const {
  const std::int64_t c = setup().config.hidden;
  const std::int64_t v = setup().shards();
  const std::int64_t rows = chunk_rows();
  Chunk chunk;
  chunk.logits = arena.take({v * rows * setup().vocab_per_shard()});
  chunk.partial = arena.take({v * rows * c});
  chunk.stats = arena.take({v * rows * stats});
  chunk.all_stats = arena.take({setup().numerics.virtual_shards * rows * stats});
  chunk.lse = arena.take({rows});
  chunk.losses = arena.take({rows});
  chunk.d_nll = arena.take({rows});
  chunk.d_entropy = arena.take({rows});
  return chunk;
}

void LanguageModelHead::forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                                HeadContext& ctx, HeadPass& pass) {
  const std::int64_t bt = setup().tokens();
  r.arena.reset();
  const TensorView normed = r.arena.take({bt, setup().config.hidden});
  const Chunk chunk = take_chunk(r.arena, wants_entropy(pass.objective) ? 4 : 3);
  normalise(r, ctx.x, normed, ctx.mean, ctx.rstd);
  // Logits are linear in ln_f's output, so their factors are its and its gradient's.
  const auto scale = [&](TensorView x) {
    const std::span<const float> scales = pass.objective.logit_scales;
    if (scales.empty()) return;
    scale_rows(r.stream, ConstTensorView(scales.data() + batch.first_token, {bt}), x);
  };
  scale(normed);

  // Chunks never cross an item, so a chunk has the same rows in every layout.
  for (std::int64_t row = 0; row < bt;) {
    const std::int64_t item_end = (row / setup().rows_per_item() + 1) * setup().rows_per_item();
    const std::int64_t rows = std::min(chunk_rows(), item_end - row);
    forward_rows(r, step, batch, chunk, normed, row, rows, ctx, pass);
    // Row by row into its sample's sum, in ascending order.
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t sample = (batch.first_token + row + i) / setup().length;
      pass.losses[static_cast<std::size_t>(sample)] += static_cast<double>(chunk.losses.data[i]);
    }
    row += rows;
  }
  if (!step.training) return;
  r.tensor.all_reduce_sum(values(ctx.kept));
  scale(ctx.kept);
}

void LanguageModelHead::forward_rows(LayerResources& r, const StepContext& step,
                                     const MicroBatch& batch, const Chunk& chunk,
                                     ConstTensorView normed, std::int64_t row, std::int64_t rows,
                                     HeadContext& ctx, HeadPass& pass) {
  const std::int64_t c = setup().config.hidden;
  const std::int64_t v = setup().shards();
  const std::int64_t vocab_part = setup().vocab_per_shard();
  const std::int64_t first_row = setup().first_shard() * vocab_part;
  const std::int64_t vocab = setup().config.vocab;
  const std::int64_t all_shards = setup().numerics.virtual_shards;
  const std::int64_t stats = chunk.stats.count() / (v * chunk_rows());
  const std::int64_t first_token = batch.first_token + row;
  const TensorView embedding = r.parameters.weight(tokens_, {v, vocab_part, c});
  const ConstTensorView x(normed.data + row * c, {1, 1, rows, c});
  const TensorView z(chunk.logits.data, {1, v, rows, vocab_part});
  const TensorView z3(chunk.logits.data, {v, rows, vocab_part});
  const TensorView local(chunk.stats.data, {v, rows, stats});
  const TensorView all(chunk.all_stats.data, {all_shards, rows, stats});
  const TensorView lse(chunk.lse.data, {rows});
  const TensorView nll(pass.nll.data() + first_token, {rows});
  const TensorView entropy =
      pass.entropy.empty() ? TensorView() : TensorView(pass.entropy.data() + first_token, {rows});
  const IdView targets(batch.targets.data + row, {rows});

  matmul_nt(r.stream, x, embedding, z);
  cross_entropy_stats(r.stream, z3, targets, first_row, vocab, local);
  gather_stats(r, local, all);
  cross_entropy_losses(r.stream, all, lse, nll, entropy);
  ask_objective(chunk, first_token, rows, pass);
  if (!step.training) return;
  const bool with_entropy = pass.objective.tokens->uses_entropy();
  cross_entropy_backward(r.stream, z3, targets, lse, first_row, vocab,
                         TensorView(chunk.d_nll.data, {rows}),
                         with_entropy ? entropy : TensorView(),
                         with_entropy ? TensorView(chunk.d_entropy.data, {rows}) : TensorView());
  matmul_tn_add(r.stream, z, x, TensorView(gradient_.data(), {v, vocab_part, c}));
  const TensorView partial(chunk.partial.data, {1, v, rows, c});
  matmul_nn(r.stream, z, embedding, partial);
  tree_sum_shards(r.stream, partial, {ctx.kept.data + row * c, {1, rows, c}});
}

void LanguageModelHead::ask_objective(const Chunk& chunk, std::int64_t first_token,
                                      std::int64_t rows, const HeadPass& pass) const {
  const auto count = static_cast<std::size_t>(rows);
  const auto first = static_cast<std::size_t>(first_token);
  const std::span nll = std::span(pass.nll).subspan(first, count);
  const std::span losses(chunk.losses.data, count);
  if (pass.objective.tokens == nullptr) {
    const std::span weights = std::span(pass.batch->weights).subspan(first, count);
    for (std::size_t i = 0; i < count; ++i) losses[i] = weights[i] * nll[i];
    return;
  }
  const bool with_entropy = pass.objective.tokens->uses_entropy();
  const std::span<const float> entropy =
      with_entropy ? std::span(pass.entropy).subspan(first, count) : std::span<const float>();
  pass.objective.tokens->evaluate({first_token, rows}, nll, entropy, losses,
                                  {chunk.d_nll.data, count},
                                  {chunk.d_entropy.data, with_entropy ? count : 0});
}

void LanguageModelHead::backward(LayerResources& r, const HeadContext& ctx, TensorView d) {
  normalise_backward(r, ctx.kept, ctx, d);
}

ConstTensorView LanguageModelHead::infer(LayerResources& r, TensorView x) const {
  const std::int64_t c = setup().config.hidden;
  const std::int64_t v = setup().shards();
  const std::int64_t part = setup().vocab_per_shard();
  const std::int64_t rows = x.dim(0);
  r.arena.reset();
  const TensorView normed = r.arena.take({rows, c});
  const TensorView mean = r.arena.take({rows});
  const TensorView rstd = r.arena.take({rows});
  const TensorView all = r.arena.take({setup().numerics.virtual_shards, rows, part});
  normalise(r, x, normed, mean, rstd);
  const TensorView local(all.data + r.tensor.rank() * v * rows * part, {v, rows, part});
  matmul_rows(r.stream, TensorView(normed.data, {1, rows, c}),
              r.parameters.weight(tokens_, {v, part, c}), local);
  r.tensor.all_gather(std::as_writable_bytes(values(all)));
  return all;
}

}  // namespace talaria::model
