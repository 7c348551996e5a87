// SPDX-License-Identifier: Apache-2.0
#include "model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace talaria::model {
namespace {

using parallel::Piece;

// The blocks of tok_embed, with offsets relative to its own start.
std::vector<parallel::FlatBlock> token_blocks(GptStage& stage) {
  std::vector<parallel::FlatBlock> blocks;
  for (const ParameterBlock& block : stage.parameters().blocks()) {
    if (block.tensor.name != "tok_embed") continue;
    blocks.push_back({block.offset - stage.tokens_offset(), block.rows, block.cols});
  }
  return blocks;
}

}  // namespace

Optimizer::Optimizer(GptStage& stage, parallel::Communicator& data,
                     parallel::Communicator& pipeline, const OptimizerConfig& config, bool zero)
    : stage_(stage),
      data_(data),
      pipeline_(pipeline),
      config_(config),
      zero_(zero),
      exchange_(data, stage.parameters().flat_blocks()),
      tokens_exchange_(data, stage.separate_head_gradient() == nullptr
                                 ? std::vector<parallel::FlatBlock>()
                                 : token_blocks(stage)) {
  const std::vector<Piece> pieces =
      zero ? exchange_.pieces() : parallel::owned_pieces(stage.parameters().flat_blocks(), 1, 0);
  std::int64_t state = 0;
  for (const Piece& piece : pieces) {
    updates_list_.push_back({piece, state});
    state += piece.count();
  }
  m_ = HostBuffer<float>(state);
  v_ = HostBuffer<float>(state);
}

bool Optimizer::is_tokens(const Piece& piece) const {
  return stage_.parameters().blocks()[piece.block].tensor.name == "tok_embed";
}

void Optimizer::reduce(float* flat, parallel::ShardExchange& exchange, std::int64_t count) {
  if (zero_) {
    exchange.reduce_scatter(flat);
  } else {
    data_.all_reduce_sum(std::span(flat, static_cast<std::size_t>(count)));
  }
}

void Optimizer::reduce_gradients() {
  Parameters& parameters = stage_.parameters();
  reduce(parameters.gradients(), exchange_, parameters.count());
  if (float* head = stage_.separate_head_gradient(); head != nullptr) {
    reduce(head, tokens_exchange_, stage_.tokens_count());
    for (const Update& update : updates_list_) {
      if (!is_tokens(update.piece)) continue;
      float* gradient = parameters.gradients() + update.piece.offset;
      const float* other = head + (update.piece.offset - stage_.tokens_offset());
      add_into(stage_.stream(), TensorView(gradient, {update.piece.count()}),
               {other, {update.piece.count()}});
    }
  } else if (stage_.shares_tokens()) {
    exchange_tied();
  }
}

void Optimizer::exchange_tied() {
  const int peer = pipeline_.rank() == 0 ? pipeline_.size() - 1 : 0;
  // No message is larger than an activation, which is what the pipeline's mailboxes hold.
  const std::int64_t most = stage_.setup().tokens() * stage_.setup().config.hidden;
  std::vector<float> received(static_cast<std::size_t>(most));
  for (const Update& update : updates_list_) {
    if (!is_tokens(update.piece)) continue;
    float* gradient = stage_.parameters().gradients() + update.piece.offset;
    for (std::int64_t at = 0; at < update.piece.count(); at += most) {
      const auto count = static_cast<std::size_t>(std::min(most, update.piece.count() - at));
      const std::span chunk(gradient + at, count);
      pipeline_.send(std::as_bytes(chunk), peer);
      pipeline_.recv(std::as_writable_bytes(std::span(received.data(), count)), peer);
      for (std::size_t i = 0; i < count; ++i) chunk[i] += received[i];
    }
  }
}

NormPart Optimizer::norm_part() const {
  NormPart part;
  std::vector<double> sums;
  for (const Piece& piece : exchange_.pieces()) {
    if (!stage_.parameters().blocks()[piece.block].counted) continue;
    const std::int64_t rows = piece.rows.end - piece.rows.begin;
    sums.resize(static_cast<std::size_t>(rows));
    row_sums_of_squares(stage_.stream(),
                        {stage_.parameters().gradients() + piece.offset, {rows, piece.cols}},
                        {sums.data(), {rows}});
    for (const double sum : sums) {
      if (std::isfinite(sum)) {
        part.sum_of_squares.add(sum);
      } else {
        part.finite = false;
      }
    }
  }
  return part;
}

void Optimizer::apply(double learning_rate, double global_norm) {
  ++updates_;
  AdamW adam;
  adam.learning_rate = static_cast<float>(learning_rate);
  adam.beta1 = static_cast<float>(config_.beta1);
  adam.beta2 = static_cast<float>(config_.beta2);
  adam.eps = static_cast<float>(config_.eps);
  const auto step = static_cast<double>(updates_);
  adam.correction1 = static_cast<float>(1.0 - std::pow(config_.beta1, step));
  adam.correction2 = static_cast<float>(1.0 - std::pow(config_.beta2, step));
  // PyTorch's clip_grad_norm_: scale by clip / (norm + 1e-6) when that is below 1.
  if (config_.clip > 0.0) {
    adam.gradient_scale = static_cast<float>(std::min(1.0, config_.clip / (global_norm + 1e-6)));
  }
  Parameters& parameters = stage_.parameters();
  for (const Update& update : updates_list_) {
    const Piece& piece = update.piece;
    adam.weight_decay = parameters.blocks()[piece.block].tensor.decay
                            ? static_cast<float>(config_.weight_decay)
                            : 0.0F;
    const std::int64_t count = piece.count();
    adamw(stage_.stream(), adam, {parameters.weights() + piece.offset, {count}},
          TensorView(parameters.gradients() + piece.offset, {count}),
          {m_.data() + update.state, {count}}, {v_.data() + update.state, {count}});
  }
  if (zero_) exchange_.all_gather(parameters.weights());
}

parallel::NamedBox Optimizer::named(const Piece& piece, float* data) const {
  return stage_.parameters().named_box(piece.block, piece.rows, data);
}

std::vector<parallel::NamedBox> Optimizer::owned_weights() {
  std::vector<parallel::NamedBox> boxes;
  for (const Piece& piece : exchange_.pieces()) {
    if (!stage_.parameters().blocks()[piece.block].counted) continue;
    boxes.push_back(named(piece, stage_.parameters().weights() + piece.offset));
    if (boxes.back().box.empty()) boxes.pop_back();
  }
  return boxes;
}

std::vector<parallel::NamedBox> Optimizer::owned_moments(int which) {
  float* state = which == 0 ? m_.data() : v_.data();
  std::vector<parallel::NamedBox> boxes;
  std::size_t at = 0;
  for (const Piece& piece : exchange_.pieces()) {
    // The update that covers this piece's block starts at or before it.
    while (updates_list_[at].piece.block != piece.block) ++at;
    const Update& update = updates_list_[at];
    if (!stage_.parameters().blocks()[piece.block].counted) continue;
    boxes.push_back(named(piece, state + update.state + (piece.offset - update.piece.offset)));
    if (boxes.back().box.empty()) boxes.pop_back();
  }
  return boxes;
}

std::vector<parallel::NamedBox> Optimizer::needed_moments(int which) {
  float* state = which == 0 ? m_.data() : v_.data();
  std::vector<parallel::NamedBox> boxes;
  for (const Update& update : updates_list_) {
    boxes.push_back(named(update.piece, state + update.state));
    if (boxes.back().box.empty()) boxes.pop_back();
  }
  return boxes;
}

std::int64_t Optimizer::moment_bytes() const {
  return (m_.count() + v_.count()) * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t Optimizer::data_bytes_per_step() const {
  if (zero_) return 2 * exchange_.bytes_sent_per_call() + tokens_exchange_.bytes_sent_per_call();
  const auto n = static_cast<std::int64_t>(data_.size());
  const auto all_reduce = [&](std::int64_t count) {
    // The foreign chunks of the data, and the own summed chunk to every peer (communicator.h).
    const parallel::RowRange own = parallel::row_block(count, data_.size(), data_.rank());
    const std::int64_t mine = own.end - own.begin;
    return (count - mine + mine * (n - 1)) * static_cast<std::int64_t>(sizeof(float));
  };
  return all_reduce(stage_.parameters().count()) +
         (stage_.separate_head_gradient() != nullptr ? all_reduce(stage_.tokens_count()) : 0);
}

}  // namespace talaria::model
