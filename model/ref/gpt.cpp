// SPDX-License-Identifier: Apache-2.0
#include "model/ref/gpt.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "cluster/base/error.h"
#include "model/dropout_sites.h"
#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

using Values = std::vector<double>;

Values zeros(std::int64_t count) { return Values(static_cast<std::size_t>(count)); }

// What the forward pass of one block leaves for its backward.
struct Block {
  Values x, normed1, mean1, rstd1, qkv_weight, qkv, heads, lse;
  Values middle, normed2, mean2, rstd2, fc, gelu;
};

class Pass {
 public:
  Pass(const GptConfig& config, HeadKind head, const NamedTensors& parameters,
       const GptBatch& batch)
      : config_(config), head_(head), parameters_(parameters), batch_(batch) {
    for (const auto& [name, count] : gpt_tensors(config, head)) {
      TALARIA_CHECK(parameters.at(name).size() == static_cast<std::size_t>(count), "{}", name);
    }
    for (std::int64_t i = 0; i < rows(); ++i) {
      const std::int32_t start = batch.tokens.starts[static_cast<std::size_t>(i)];
      positions_.push_back(static_cast<std::int32_t>(i % length()) - start);
    }
  }

  double forward(const TokenLoss& loss);
  double forward(const ValueLoss& loss);
  NamedTensors backward();

 private:
  std::int64_t length() const { return batch_.tokens.length; }
  std::int64_t rows() const { return batch_.tokens.samples() * length(); }
  std::int64_t hidden() const { return config_.hidden; }
  Dropout site(std::uint32_t stream) const {
    return {batch_.dropout, {batch_.seed, batch_.step, stream}, batch_.first_sample};
  }
  AttentionShape attention_shape() const {
    return {length(), config_.heads, config_.head_size(), 0, config_.heads};
  }
  std::string in_block(std::int64_t layer, const char* name) const {
    return fmt::format("blocks.{}.{}", layer, name);
  }
  const Values& parameter(const std::string& name) const { return parameters_.at(name); }

  // Views: [rows, columns] of tokens, the same as one item of one shard, and weights.
  In tokens(const Values& x, std::int64_t columns) const { return {x.data(), {rows(), columns}}; }
  Out tokens(Values& x, std::int64_t columns) const { return {x.data(), {rows(), columns}}; }
  In item(const Values& x, std::int64_t columns) const {
    return {x.data(), {1, 1, rows(), columns}};
  }
  Out item(Values& x, std::int64_t columns) const { return {x.data(), {1, 1, rows(), columns}}; }
  static In vector(const Values& x) { return {x.data(), {static_cast<std::int64_t>(x.size())}}; }
  static Out vector(Values& x) { return {x.data(), {static_cast<std::int64_t>(x.size())}}; }
  static In row(const Values& x) { return {x.data(), {1, static_cast<std::int64_t>(x.size())}}; }
  IdView ids(const std::vector<std::int32_t>& list) const { return {list.data(), {rows()}}; }
  static Out row(Values& x) { return {x.data(), {1, static_cast<std::int64_t>(x.size())}}; }

  // y = x weight^T, weight [out, in]
  Values linear(const Values& x, const Values& weight, std::int64_t in, std::int64_t out) const {
    Values y = zeros(rows() * out);
    matmul_nt(item(x, in), In(weight.data(), {1, out, in}), item(y, out));
    return y;
  }
  // dweight += dy^T x; returns dx = dy weight.
  Values linear_backward(const Values& dy, const Values& x, const Values& weight, std::int64_t in,
                         std::int64_t out, Values& dweight) const {
    matmul_tn_add(item(dy, out), item(x, in), Out(dweight.data(), {1, out, in}));
    Values dx = zeros(rows() * in);
    matmul_nn(item(dy, out), In(weight.data(), {1, out, in}), item(dx, in));
    return dx;
  }
  Values normalise(const Values& x, const std::string& name, Values& mean, Values& rstd) const {
    Values y = zeros(rows() * hidden());
    mean = zeros(rows());
    rstd = zeros(rows());
    layernorm(tokens(x, hidden()), vector(parameter(name + ".weight")),
              vector(parameter(name + ".bias")), tokens(y, hidden()), vector(mean), vector(rstd));
    return y;
  }
  void normalise_backward(const Values& dy, const Values& x, const std::string& name,
                          const Values& mean, const Values& rstd, Values& dx,
                          NamedTensors& gradients) const {
    layernorm_backward(tokens(dy, hidden()), tokens(x, hidden()),
                       vector(parameter(name + ".weight")), vector(mean), vector(rstd), length(),
                       tokens(dx, hidden()), row(gradients[name + ".weight"]),
                       row(gradients[name + ".bias"]));
  }

  Values forward_block(std::int64_t layer, Values x);
  Values backward_block(std::int64_t layer, const Values& dy, NamedTensors& gradients) const;
  Values backward_mlp(std::int64_t layer, const Values& dy, NamedTensors& gradients) const;

  void scale_logits(Values& logits) const;
  // Up to ln_f's output, and back from its gradient.
  void forward_body();
  NamedTensors backward_body(const Values& dnormed, NamedTensors gradients);

  const GptConfig& config_;
  HeadKind head_;
  const NamedTensors& parameters_;
  const GptBatch& batch_;
  std::vector<std::int32_t> positions_;  // in their segments
  std::vector<Block> blocks_;
  Values last_, normed_, mean_, rstd_, logits_, lse_;
  Values entropy_, d_nll_, d_entropy_, d_values_;
};

Values Pass::forward_block(std::int64_t layer, Values x) {
  const std::int64_t c = hidden();
  const auto named = [&](const char* name) -> const Values& {
    return parameter(in_block(layer, name));
  };
  Block b;
  b.x = std::move(x);
  b.normed1 = normalise(b.x, in_block(layer, "ln1"), b.mean1, b.rstd1);
  Values qkv_bias;
  for (const char* name : {"attn.q", "attn.k", "attn.v"}) {
    const Values& weight = parameter(in_block(layer, name) + ".weight");
    const Values& bias = parameter(in_block(layer, name) + ".bias");
    b.qkv_weight.insert(b.qkv_weight.end(), weight.begin(), weight.end());
    qkv_bias.insert(qkv_bias.end(), bias.begin(), bias.end());
  }
  b.qkv = linear(b.normed1, b.qkv_weight, c, 3 * c);
  add_bias(item(b.qkv, 3 * c), row(qkv_bias));
  b.heads = zeros(rows() * c);
  b.lse = zeros(rows() * config_.heads);
  attention(item(b.qkv, 3 * c), ids(batch_.tokens.starts), attention_shape(),
            site(attention_dropout(layer)), item(b.heads, c), item(b.lse, config_.heads));
  b.middle = linear(b.heads, named("attn.proj.weight"), c, c);
  bias_dropout_residual(tokens(b.middle, c), vector(named("attn.proj.bias")), tokens(b.x, c),
                        length(), site(attention_residual_dropout(layer)), tokens(b.middle, c));
  b.normed2 = normalise(b.middle, in_block(layer, "ln2"), b.mean2, b.rstd2);
  b.fc = linear(b.normed2, named("mlp.fc.weight"), c, config_.ffn);
  add_bias(item(b.fc, config_.ffn), row(named("mlp.fc.bias")));
  b.gelu = zeros(rows() * config_.ffn);
  gelu(tokens(b.fc, config_.ffn), tokens(b.gelu, config_.ffn));
  Values y = linear(b.gelu, named("mlp.proj.weight"), config_.ffn, c);
  bias_dropout_residual(tokens(y, c), vector(named("mlp.proj.bias")), tokens(b.middle, c), length(),
                        site(mlp_residual_dropout(layer)), tokens(y, c));
  blocks_.push_back(std::move(b));
  return y;
}

// Gradient of the block's middle, of which the residual's part is dy itself.
Values Pass::backward_mlp(std::int64_t layer, const Values& dy, NamedTensors& gradients) const {
  const Block& b = blocks_[static_cast<std::size_t>(layer)];
  const std::int64_t c = hidden();
  const std::int64_t ffn = config_.ffn;
  Values d = zeros(rows() * c);
  dropout_backward(tokens(dy, c), length(), site(mlp_residual_dropout(layer)), tokens(d, c));
  token_sums(tokens(d, c), length(), row(gradients[in_block(layer, "mlp.proj.bias")]));
  Values dfc = linear_backward(d, b.gelu, parameter(in_block(layer, "mlp.proj.weight")), ffn, c,
                               gradients[in_block(layer, "mlp.proj.weight")]);
  gelu_backward(tokens(b.fc, ffn), tokens(dfc, ffn), tokens(dfc, ffn));
  add_bias_backward(item(dfc, ffn), row(gradients[in_block(layer, "mlp.fc.bias")]));
  const Values dnormed =
      linear_backward(dfc, b.normed2, parameter(in_block(layer, "mlp.fc.weight")), c, ffn,
                      gradients[in_block(layer, "mlp.fc.weight")]);
  Values dmiddle = dy;
  normalise_backward(dnormed, b.middle, in_block(layer, "ln2"), b.mean2, b.rstd2, dmiddle,
                     gradients);
  return dmiddle;
}

Values Pass::backward_block(std::int64_t layer, const Values& dy, NamedTensors& gradients) const {
  const Block& b = blocks_[static_cast<std::size_t>(layer)];
  const std::int64_t c = hidden();
  const Values dmiddle = backward_mlp(layer, dy, gradients);
  Values d = zeros(rows() * c);
  dropout_backward(tokens(dmiddle, c), length(), site(attention_residual_dropout(layer)),
                   tokens(d, c));
  token_sums(tokens(d, c), length(), row(gradients[in_block(layer, "attn.proj.bias")]));
  const Values dheads = linear_backward(d, b.heads, parameter(in_block(layer, "attn.proj.weight")),
                                        c, c, gradients[in_block(layer, "attn.proj.weight")]);
  Values dqkv = zeros(rows() * 3 * c);
  attention_backward(item(dheads, c), item(b.qkv, 3 * c), ids(batch_.tokens.starts),
                     item(b.heads, c), item(b.lse, config_.heads), attention_shape(),
                     site(attention_dropout(layer)), item(dqkv, 3 * c));
  Values dbias = zeros(3 * c);
  Values dweight = zeros(3 * c * c);
  add_bias_backward(item(dqkv, 3 * c), row(dbias));
  const Values dnormed = linear_backward(dqkv, b.normed1, b.qkv_weight, c, 3 * c, dweight);
  std::int64_t part = 0;
  for (const char* name : {"attn.q", "attn.k", "attn.v"}) {
    gradients[in_block(layer, name) + ".weight"].assign(dweight.begin() + part * c * c,
                                                        dweight.begin() + (part + 1) * c * c);
    gradients[in_block(layer, name) + ".bias"].assign(dbias.begin() + part * c,
                                                      dbias.begin() + (part + 1) * c);
    ++part;
  }
  Values dx = dmiddle;
  normalise_backward(dnormed, b.x, in_block(layer, "ln1"), b.mean1, b.rstd1, dx, gradients);
  return dx;
}

void Pass::forward_body() {
  const std::int64_t c = hidden();
  Values x = zeros(rows() * c);
  embed(ids(batch_.tokens.inputs), {parameter("tok_embed").data(), {config_.vocab, c}}, 0,
        tokens(x, c));
  position_dropout(tokens(x, c), ids(positions_),
                   {parameter("pos_embed").data(), {config_.context, c}}, length(),
                   site(kEmbeddingDropout), tokens(x, c));
  for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
    x = forward_block(layer, std::move(x));
  }
  last_ = std::move(x);
  normed_ = normalise(last_, "ln_f", mean_, rstd_);
}

void Pass::scale_logits(Values& logits) const {
  if (batch_.logit_scales.empty()) return;
  scale_rows(vector(batch_.logit_scales), tokens(logits, config_.vocab));
}

double Pass::forward(const TokenLoss& loss) {
  forward_body();
  logits_ = linear(normed_, parameter("tok_embed"), hidden(), config_.vocab);
  scale_logits(logits_);
  Values stats = zeros(rows() * 4);
  Values nll = zeros(rows());
  for (Values* of : {&lse_, &entropy_, &d_nll_, &d_entropy_}) *of = zeros(rows());
  cross_entropy_stats({logits_.data(), {1, rows(), config_.vocab}}, ids(batch_.tokens.targets), 0,
                      config_.vocab, {stats.data(), {1, rows(), 4}});
  cross_entropy_losses({stats.data(), {1, rows(), 4}}, vector(lse_), vector(nll), vector(entropy_));
  return loss(nll, entropy_, d_nll_, d_entropy_);
}

double Pass::forward(const ValueLoss& loss) {
  forward_body();
  Values values = zeros(rows());
  d_values_ = zeros(rows());
  row_dots(tokens(normed_, hidden()), vector(parameter("value_head.weight")),
           vector(parameter("value_head.bias")), vector(values));
  return loss(values, d_values_);
}

NamedTensors Pass::backward() {
  const std::int64_t c = hidden();
  NamedTensors gradients;
  for (const auto& [name, count] : gpt_tensors(config_, head_)) gradients[name] = zeros(count);
  if (head_ == HeadKind::kScalar) {
    Values dnormed = zeros(rows() * c);
    row_dots_backward(vector(std::as_const(d_values_)), tokens(std::as_const(normed_), c),
                      vector(parameter("value_head.weight")), length(), tokens(dnormed, c),
                      row(gradients["value_head.weight"]), row(gradients["value_head.bias"]));
    return backward_body(dnormed, std::move(gradients));
  }
  Values dlogits = logits_;
  cross_entropy_backward({dlogits.data(), {1, rows(), config_.vocab}}, ids(batch_.tokens.targets),
                         vector(std::as_const(lse_)), 0, config_.vocab,
                         vector(std::as_const(d_nll_)), vector(std::as_const(entropy_)),
                         vector(std::as_const(d_entropy_)));
  scale_logits(dlogits);
  const Values dnormed = linear_backward(dlogits, normed_, parameter("tok_embed"), c, config_.vocab,
                                         gradients["tok_embed"]);
  return backward_body(dnormed, std::move(gradients));
}

NamedTensors Pass::backward_body(const Values& dnormed, NamedTensors gradients) {
  const std::int64_t c = hidden();
  Values dx = zeros(rows() * c);
  normalise_backward(dnormed, last_, "ln_f", mean_, rstd_, dx, gradients);
  for (std::int64_t layer = config_.layers - 1; layer >= 0; --layer) {
    dx = backward_block(layer, dx, gradients);
  }
  dropout_backward(tokens(dx, c), length(), site(kEmbeddingDropout), tokens(dx, c));
  embed_backward(ids(batch_.tokens.inputs), tokens(dx, c), 0,
                 {gradients["tok_embed"].data(), {config_.vocab, c}});
  embed_backward(ids(positions_), tokens(dx, c), 0,
                 {gradients["pos_embed"].data(), {config_.context, c}});
  return gradients;
}

}  // namespace

std::map<std::string, std::int64_t> gpt_tensors(const GptConfig& config, HeadKind head) {
  const std::int64_t c = config.hidden;
  std::map<std::string, std::int64_t> tensors = {{"tok_embed", config.vocab * c},
                                                 {"pos_embed", config.context * c},
                                                 {"ln_f.weight", c},
                                                 {"ln_f.bias", c}};
  if (head == HeadKind::kScalar) {
    tensors["value_head.weight"] = c;
    tensors["value_head.bias"] = 1;
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = fmt::format("blocks.{}.", layer);
    for (const char* norm : {"ln1", "ln2"}) {
      tensors[prefix + norm + ".weight"] = c;
      tensors[prefix + norm + ".bias"] = c;
    }
    const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> linears[] = {
        {"attn.q", {c, c}},    {"attn.k", {c, c}},          {"attn.v", {c, c}},
        {"attn.proj", {c, c}}, {"mlp.fc", {config.ffn, c}}, {"mlp.proj", {c, config.ffn}}};
    for (const auto& [name, extent] : linears) {
      tensors[prefix + name + ".weight"] = extent.first * extent.second;
      tensors[prefix + name + ".bias"] = extent.first;
    }
  }
  return tensors;
}

namespace {

template <class Loss>
double evaluate(const GptConfig& config, HeadKind head, const NamedTensors& parameters,
                const GptBatch& batch, const Loss& loss, NamedTensors* gradients) {
  check_batch(batch.tokens);
  Pass pass(config, head, parameters, batch);
  const double value = pass.forward(loss);
  if (gradients != nullptr) *gradients = pass.backward();
  return value;
}

}  // namespace

double gpt_loss(const GptConfig& config, const NamedTensors& parameters, const GptBatch& batch,
                const TokenLoss& loss, NamedTensors* gradients) {
  return evaluate(config, HeadKind::kLanguageModel, parameters, batch, loss, gradients);
}

double gpt_value_loss(const GptConfig& config, const NamedTensors& parameters,
                      const GptBatch& batch, const ValueLoss& loss, NamedTensors* gradients) {
  return evaluate(config, HeadKind::kScalar, parameters, batch, loss, gradients);
}

double gpt_loss(const GptConfig& config, const NamedTensors& parameters, const GptBatch& batch,
                NamedTensors* gradients) {
  const TokenLoss mean = [](std::span<const double> nll, std::span<const double>,
                            std::span<double> d_nll, std::span<double>) {
    const auto count = static_cast<double>(nll.size());
    std::fill(d_nll.begin(), d_nll.end(), 1.0 / count);
    return std::accumulate(nll.begin(), nll.end(), 0.0) / count;
  };
  return gpt_loss(config, parameters, batch, mean, gradients);
}

}  // namespace talaria::model::ref
