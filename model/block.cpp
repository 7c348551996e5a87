// SPDX-License-Identifier: Apache-2.0
#include "model/block.h"

#include <cmath>
#include <numeric>
#include <span>

namespace talaria::model {
namespace {

using parallel::Box;
using parallel::Dims;

TensorSpec matrix(const std::string& name, std::int64_t out, std::int64_t in, double std_dev,
                  std::int64_t hash_columns) {
  return {name, {out, in}, false, std_dev, 0.0F, true, hash_columns};
}

TensorSpec vector_of(const std::string& name, std::int64_t size, float value) {
  return {name, {size, 1}, true, 0.0, value, false, 1};
}

// Cuts consecutive tensors out of one buffer; without a buffer it only measures.
class Cutter {
 public:
  explicit Cutter(float* buffer) : buffer_(buffer) {}
  TensorView take(std::initializer_list<std::int64_t> dims) {
    const TensorView view(buffer_ == nullptr ? nullptr : buffer_ + used_, dims);
    used_ += (view.count() + 15) / 16 * 16;
    return view;
  }
  std::int64_t used() const { return used_; }

 private:
  float* buffer_;
  std::int64_t used_ = 0;
};

}  // namespace

TransformerBlock::TransformerBlock(const StageSetup& setup, std::int64_t layer,
                                   Parameters& parameters, TokenSums& token_sums)
    : setup_(setup), layer_(layer) {
  const GptConfig& c = setup.config;
  const std::string prefix = fmt::format("blocks.{}.", layer);
  const double residual_std = 0.02 / std::sqrt(2.0 * static_cast<double>(c.layers));
  const bool replica = setup.at.tensor == 0;

  const auto replicated = [&](const std::string& name, float value) {
    Vector vector;
    vector.offset = parameters.begin_weight();
    parameters.add_block(vector_of(prefix + name, c.hidden, value), {{0, 0}, {c.hidden, 1}},
                         c.hidden, replica);
    vector.sums = token_sums.add(vector.offset, c.hidden);
    return vector;
  };
  // One block a (shard, tensor), shard by shard, so that a shard's product reads one dense matrix.
  const auto columns = [&](const std::vector<std::string>& names, std::int64_t out, bool weights) {
    const std::int64_t offset = parameters.begin_weight();
    const std::int64_t part = setup.per_shard(out);
    for (std::int64_t v = 0; v < setup.shards(); ++v) {
      const std::int64_t row = (setup.first_shard() + v) * part;
      for (const std::string& name : names) {
        const std::string full = prefix + name + (weights ? ".weight" : ".bias");
        parameters.add_block(
            weights ? matrix(full, out, c.hidden, 0.02, c.hidden) : vector_of(full, out, 0.0F),
            {{row, 0}, {part, weights ? c.hidden : 1}}, part, true);
      }
    }
    return offset;
  };
  const auto rows = [&](const std::string& name, std::int64_t in, std::int64_t hash_columns) {
    const std::int64_t offset = parameters.begin_weight();
    const std::int64_t part = setup.per_shard(in);
    for (std::int64_t v = 0; v < setup.shards(); ++v) {
      parameters.add_block(
          matrix(prefix + name + ".weight", c.hidden, in, residual_std, hash_columns),
          {{0, (setup.first_shard() + v) * part}, {c.hidden, part}}, c.hidden, true);
    }
    return offset;
  };

  ln1_weight_ = replicated("ln1.weight", 1.0F);
  ln1_bias_ = replicated("ln1.bias", 0.0F);
  qkv_weight_ = columns({"attn.q", "attn.k", "attn.v"}, c.hidden, true);
  qkv_bias_ = columns({"attn.q", "attn.k", "attn.v"}, c.hidden, false);
  proj_weight_ = rows("attn.proj", c.hidden, c.head_size());
  proj_bias_ = replicated("attn.proj.bias", 0.0F);
  ln2_weight_ = replicated("ln2.weight", 1.0F);
  ln2_bias_ = replicated("ln2.bias", 0.0F);
  fc_weight_ = columns({"mlp.fc"}, c.ffn, true);
  fc_bias_ = columns({"mlp.fc"}, c.ffn, false);
  mlp_weight_ = rows("mlp.proj", c.ffn, c.ffn / std::gcd(c.ffn, c.heads));
  mlp_bias_ = replicated("mlp.proj.bias", 0.0F);
}

BlockContext TransformerBlock::make_context(float* buffer, std::int64_t* used) const {
  const std::int64_t bt = setup_.tokens();
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t n = setup_.items();
  const std::int64_t v = setup_.shards();
  const std::int64_t r = setup_.rows_per_item();
  const std::int64_t cv = setup_.per_shard(c);
  const std::int64_t fv = setup_.per_shard(setup_.config.ffn);
  Cutter cut(buffer);
  BlockContext ctx;
  ctx.normed1 = cut.take({bt, c});
  ctx.mean1 = cut.take({bt});
  ctx.rstd1 = cut.take({bt});
  ctx.qkv = cut.take({n, v, r, 3 * cv});
  ctx.heads = cut.take({n, v, r, cv});
  ctx.lse = cut.take({n, v, r, setup_.per_shard(setup_.config.heads)});
  ctx.middle = cut.take({bt, c});
  ctx.normed2 = cut.take({bt, c});
  ctx.mean2 = cut.take({bt});
  ctx.rstd2 = cut.take({bt});
  ctx.fc = cut.take({n, v, r, fv});
  ctx.gelu = cut.take({n, v, r, fv});
  ctx.out = cut.take({bt, c});
  if (used != nullptr) *used = cut.used();
  return ctx;
}

std::int64_t TransformerBlock::context_count() const {
  std::int64_t used = 0;
  make_context(nullptr, &used);
  return used;
}

AttentionShape TransformerBlock::attention_shape() const {
  const std::int64_t heads = setup_.per_shard(setup_.config.heads);
  return {setup_.length, heads, setup_.config.head_size(), setup_.first_shard() * heads,
          setup_.config.heads};
}

TensorView TransformerBlock::as_items(const TensorView& tokens) const {
  return {tokens.data, {setup_.items(), 1, setup_.rows_per_item(), tokens.dim(1)}};
}

void sum_partials(LayerResources& r, TensorView partial, TensorView out) {
  const TensorView items(out.data, {partial.dim(0), partial.dim(2), partial.dim(3)});
  tree_sum_shards(r.stream, partial, items);
  r.tensor.all_reduce_sum(std::span(out.data, static_cast<std::size_t>(out.count())));
}

void TransformerBlock::forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                               BlockContext& ctx) const {
  const GptConfig& config = setup_.config;
  const std::int64_t c = config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t cv = setup_.per_shard(c);
  const std::int64_t fv = setup_.per_shard(config.ffn);
  const std::int64_t n = setup_.items();
  const std::int64_t rows = setup_.rows_per_item();
  Parameters& p = r.parameters;
  r.arena.reset();
  const TensorView partial = r.arena.take({n, v, rows, c});
  const TensorView summed = r.arena.take({setup_.tokens(), c});

  layernorm(r.stream, ctx.x, p.weight(ln1_weight_.offset, {c}), p.weight(ln1_bias_.offset, {c}),
            ctx.normed1, ctx.mean1, ctx.rstd1);
  matmul_nt(r.stream, as_items(ctx.normed1), p.weight(qkv_weight_, {v, 3 * cv, c}), ctx.qkv);
  add_bias(r.stream, ctx.qkv, p.weight(qkv_bias_, {v, 3 * cv}));
  attention(r.stream, ctx.qkv, batch.starts, attention_shape(),
            step.site(attention_dropout(layer_), batch.first_sample), ctx.heads, ctx.lse);
  matmul_nt(r.stream, ctx.heads, p.weight(proj_weight_, {v, c, cv}), partial);
  sum_partials(r, partial, summed);
  bias_dropout_residual(r.stream, summed, p.weight(proj_bias_.offset, {c}), ctx.x, setup_.length,
                        step.site(attention_residual_dropout(layer_), batch.first_sample),
                        ctx.middle);

  layernorm(r.stream, ctx.middle, p.weight(ln2_weight_.offset, {c}),
            p.weight(ln2_bias_.offset, {c}), ctx.normed2, ctx.mean2, ctx.rstd2);
  matmul_nt(r.stream, as_items(ctx.normed2), p.weight(fc_weight_, {v, fv, c}), ctx.fc);
  add_bias(r.stream, ctx.fc, p.weight(fc_bias_, {v, fv}));
  gelu(r.stream, ctx.fc, ctx.gelu);
  matmul_nt(r.stream, ctx.gelu, p.weight(mlp_weight_, {v, c, fv}), partial);
  sum_partials(r, partial, summed);
  bias_dropout_residual(r.stream, summed, p.weight(mlp_bias_.offset, {c}), ctx.middle,
                        setup_.length, step.site(mlp_residual_dropout(layer_), batch.first_sample),
                        ctx.out);
}

void TransformerBlock::infer(LayerResources& r, const SequenceRows& sequence,
                             const LayerCache& cache, TensorView x) const {
  const GptConfig& config = setup_.config;
  const std::int64_t c = config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t cv = setup_.per_shard(c);
  const std::int64_t fv = setup_.per_shard(config.ffn);
  const std::int64_t rows = sequence.count();
  Parameters& p = r.parameters;
  r.arena.reset();
  const TensorView normed = r.arena.take({rows, c});
  const TensorView mean = r.arena.take({rows});
  const TensorView rstd = r.arena.take({rows});
  const TensorView qkv = r.arena.take({v, rows, 3 * cv});
  const TensorView heads = r.arena.take({v, rows, cv});
  const TensorView fc = r.arena.take({v, rows, fv});
  const TensorView partial = r.arena.take({1, v, rows, c});
  const TensorView summed = r.arena.take({rows, c});
  const auto by_shard = [&](const TensorView& y) {
    return TensorView(y.data, {1, v, rows, y.dim(2)});
  };
  const TensorView shared(normed.data, {1, rows, c});
  const TensorView partials(partial.data, {v, rows, c});

  layernorm(r.stream, x, p.weight(ln1_weight_.offset, {c}), p.weight(ln1_bias_.offset, {c}), normed,
            mean, rstd);
  matmul_rows(r.stream, shared, p.weight(qkv_weight_, {v, 3 * cv, c}), qkv);
  add_bias(r.stream, by_shard(qkv), p.weight(qkv_bias_, {v, 3 * cv}));
  cached_attention(r.stream, qkv, sequence.slots, sequence.positions,
                   setup_.per_shard(config.heads), config.head_size(), cache.keys, cache.values,
                   heads);
  matmul_rows(r.stream, heads, p.weight(proj_weight_, {v, c, cv}), partials);
  sum_partials(r, partial, summed);
  bias_dropout_residual(r.stream, summed, p.weight(proj_bias_.offset, {c}), x, rows, {}, x);

  layernorm(r.stream, x, p.weight(ln2_weight_.offset, {c}), p.weight(ln2_bias_.offset, {c}), normed,
            mean, rstd);
  matmul_rows(r.stream, shared, p.weight(fc_weight_, {v, fv, c}), fc);
  add_bias(r.stream, by_shard(fc), p.weight(fc_bias_, {v, fv}));
  gelu(r.stream, fc, fc);
  matmul_rows(r.stream, fc, p.weight(mlp_weight_, {v, c, fv}), partials);
  sum_partials(r, partial, summed);
  bias_dropout_residual(r.stream, summed, p.weight(mlp_bias_.offset, {c}), x, rows, {}, x);
}

void TransformerBlock::backward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                                const BlockContext& ctx, TensorView d) const {
  mlp_backward_half(r, step, batch, ctx, d);
  attention_backward_half(r, step, batch, ctx, d);
}

void TransformerBlock::mlp_backward_half(LayerResources& r, const StepContext& step,
                                         const MicroBatch& batch, const BlockContext& ctx,
                                         TensorView d) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t fv = setup_.per_shard(setup_.config.ffn);
  Parameters& p = r.parameters;
  r.arena.reset();
  const TensorView d_branch = r.arena.take({setup_.tokens(), c});
  const TensorView d_fc = r.arena.take({setup_.items(), v, setup_.rows_per_item(), fv});
  const TensorView partial = r.arena.take({setup_.items(), v, setup_.rows_per_item(), c});

  dropout_backward(r.stream, d, setup_.length,
                   step.site(mlp_residual_dropout(layer_), batch.first_sample), d_branch);
  token_sums(r.stream, d_branch, setup_.length, r.token_sums.view(mlp_bias_.sums));
  matmul_tn_add(r.stream, as_items(d_branch), ctx.gelu, p.gradient(mlp_weight_, {v, c, fv}));
  matmul_nn(r.stream, as_items(d_branch), p.weight(mlp_weight_, {v, c, fv}), d_fc);
  gelu_backward(r.stream, ctx.fc, d_fc, d_fc);
  add_bias_backward(r.stream, d_fc, p.gradient(fc_bias_, {v, fv}));
  matmul_tn_add(r.stream, d_fc, as_items(ctx.normed2), p.gradient(fc_weight_, {v, fv, c}));
  matmul_nn(r.stream, d_fc, p.weight(fc_weight_, {v, fv, c}), partial);
  sum_partials(r, partial, d_branch);
  layernorm_backward(r.stream, d_branch, ctx.middle, p.weight(ln2_weight_.offset, {c}), ctx.mean2,
                     ctx.rstd2, setup_.length, d, r.token_sums.view(ln2_weight_.sums),
                     r.token_sums.view(ln2_bias_.sums));
}

void TransformerBlock::attention_backward_half(LayerResources& r, const StepContext& step,
                                               const MicroBatch& batch, const BlockContext& ctx,
                                               TensorView d) const {
  const std::int64_t c = setup_.config.hidden;
  const std::int64_t v = setup_.shards();
  const std::int64_t cv = setup_.per_shard(c);
  Parameters& p = r.parameters;
  r.arena.reset();
  const TensorView d_branch = r.arena.take({setup_.tokens(), c});
  const TensorView d_heads = r.arena.take({setup_.items(), v, setup_.rows_per_item(), cv});
  const TensorView d_qkv = r.arena.take({setup_.items(), v, setup_.rows_per_item(), 3 * cv});
  const TensorView partial = r.arena.take({setup_.items(), v, setup_.rows_per_item(), c});

  dropout_backward(r.stream, d, setup_.length,
                   step.site(attention_residual_dropout(layer_), batch.first_sample), d_branch);
  token_sums(r.stream, d_branch, setup_.length, r.token_sums.view(proj_bias_.sums));
  matmul_tn_add(r.stream, as_items(d_branch), ctx.heads, p.gradient(proj_weight_, {v, c, cv}));
  matmul_nn(r.stream, as_items(d_branch), p.weight(proj_weight_, {v, c, cv}), d_heads);
  attention_backward(r.stream, d_heads, ctx.qkv, batch.starts, ctx.heads, ctx.lse,
                     attention_shape(), step.site(attention_dropout(layer_), batch.first_sample),
                     d_qkv);
  add_bias_backward(r.stream, d_qkv, p.gradient(qkv_bias_, {v, 3 * cv}));
  matmul_tn_add(r.stream, d_qkv, as_items(ctx.normed1), p.gradient(qkv_weight_, {v, 3 * cv, c}));
  matmul_nn(r.stream, d_qkv, p.weight(qkv_weight_, {v, 3 * cv, c}), partial);
  sum_partials(r, partial, d_branch);
  layernorm_backward(r.stream, d_branch, ctx.x, p.weight(ln1_weight_.offset, {c}), ctx.mean1,
                     ctx.rstd1, setup_.length, d, r.token_sums.view(ln1_weight_.sums),
                     r.token_sums.view(ln1_bias_.sums));
}

}  // namespace talaria::model
