// SPDX-License-Identifier: Apache-2.0
#include "model/gpt_stage.h"

#include <algorithm>
#include <cstring>

#include "parallel/schedule.h"

namespace talaria::model {

std::vector<double> unit_costs(const GptConfig& config, std::int64_t length) {
  const auto c = static_cast<double>(config.hidden);
  const auto t = static_cast<double>(length);
  const double block =
      t * (2.0 * (4.0 * c * c + 2.0 * c * static_cast<double>(config.ffn)) + 4.0 * t * c);
  std::vector<double> costs(static_cast<std::size_t>(config.layers), block);
  costs.push_back(2.0 * t * c * static_cast<double>(config.vocab));
  return costs;
}

void assign_layers(StageSetup& setup) {
  const auto bounds =
      parallel::cut_by_cost(unit_costs(setup.config, setup.length), setup.layout.pipeline);
  // The head is the last unit; it is no layer.
  const auto bound = [&](int stage) {
    return std::min<std::int64_t>(bounds[static_cast<std::size_t>(stage)], setup.config.layers);
  };
  setup.first_layer = bound(setup.at.pipeline);
  setup.last_layer = bound(setup.at.pipeline + 1);
}

GptStage::GptStage(const StageSetup& setup, parallel::Communicator& tensor, Stream stream)
    : setup_(setup), tensor_(tensor), stream_(stream), token_sums_(setup.numerics.virtual_shards) {
  if (holds_tokens()) {
    tokens_offset_ = add_token_embedding(setup_, parameters_, setup_.is_first());
  }
  if (setup_.is_first()) embedding_.emplace(setup_, tokens_offset_, parameters_);
  for (std::int64_t l = setup_.first_layer; l < setup_.last_layer; ++l) {
    layers_.emplace_back(setup_, l, parameters_, token_sums_);
  }
  if (setup_.is_last()) head_.emplace(setup_, tokens_offset_, parameters_, token_sums_);
  parameters_.allocate(!setup_.inference);
  if (setup_.inference) return;
  token_sums_.allocate();
  parameters_.initialise(setup_.seed, pool());
  fold_.emplace(parameters_.count(), setup_.local_groups());
  if (setup_.is_last()) {
    head_fold_.emplace(tokens_count(), setup_.local_groups());
    head_gradient_ = HostBuffer<float>(tokens_count());
  }
}

std::int64_t GptStage::tokens_count() const {
  return holds_tokens() ? setup_.shards() * setup_.vocab_per_shard() * setup_.config.hidden : 0;
}

float* GptStage::separate_head_gradient() {
  return setup_.is_first() && setup_.is_last() ? head_gradient_.data() : nullptr;
}

LayerResources GptStage::resources() {
  return {stream_, tensor_, parameters_, token_sums_, arena_};
}

TensorView GptStage::tokens_view(HostBuffer<float>& buffer) const {
  return {buffer.data(), {setup_.tokens(), setup_.config.hidden}};
}

std::int64_t GptStage::first_sample(int micro_batch) const {
  return setup_.at.data * setup_.samples_per_rank() + micro_batch * setup_.micro_batch;
}

bool GptStage::ends_group(int micro_batch) const {
  return (micro_batch + 1) % setup_.micro_batches_per_group() == 0;
}

void GptStage::begin(const StepContext& step, std::span<const std::int32_t> ids) {
  step_ = step;
  ids_.assign(ids.begin(), ids.end());
  const auto samples = ids_.size() / static_cast<std::size_t>(setup_.length + 1);
  losses_.assign(setup_.is_last() ? samples : 0, 0.0);
  if (!step.training) return;
  std::memset(parameters_.gradients(), 0,
              static_cast<std::size_t>(parameters_.count()) * sizeof(float));
  head_gradient_.clear();
}

void GptStage::finish() {
  // With a pipeline the last stage's copy of the embedding has no other gradient than the head's.
  if (setup_.is_last() && !setup_.is_first()) {
    std::memcpy(parameters_.gradients() + tokens_offset_, head_gradient_.data(),
                static_cast<std::size_t>(tokens_count()) * sizeof(float));
  }
}

std::unique_ptr<GptStage::Context> GptStage::make_context() const {
  auto context = std::make_unique<Context>();
  const std::int64_t count = setup_.tokens() * setup_.config.hidden;
  context->input = HostBuffer<float>(count);
  context->gradient = HostBuffer<float>(count);
  const float* below = context->input.data();
  for (const TransformerBlock& layer : layers_) {
    context->buffers.emplace_back(layer.context_count());
    BlockContext block = layer.make_context(context->buffers.back().data());
    block.x = {const_cast<float*>(below), {setup_.tokens(), setup_.config.hidden}};
    below = block.out.data;
    context->blocks.push_back(block);
  }
  if (head_) {
    context->head = head_->make_context();
    context->head->x = {const_cast<float*>(below), {setup_.tokens(), setup_.config.hidden}};
  }
  return context;
}

GptStage::Context& GptStage::live(int micro_batch) {
  const auto found = live_.find(micro_batch);
  TALARIA_CHECK(found != live_.end(), "micro-batch {} is not live", micro_batch);
  return *found->second;
}

TensorView GptStage::input(int micro_batch) { return tokens_view(live(micro_batch).input); }

TensorView GptStage::output(int micro_batch) {
  Context& context = live(micro_batch);
  return context.blocks.empty() ? tokens_view(context.input) : context.blocks.back().out;
}

TensorView GptStage::output_gradient(int micro_batch) {
  return tokens_view(live(micro_batch).gradient);
}

TensorView GptStage::input_gradient(int micro_batch) {
  return tokens_view(live(micro_batch).gradient);
}

void GptStage::open(int micro_batch) {
  std::unique_ptr<Context> context;
  if (free_.empty()) {
    context = make_context();
    ++contexts_made_;
  } else {
    context = std::move(free_.back());
    free_.pop_back();
  }
  context->inputs.resize(static_cast<std::size_t>(setup_.tokens()));
  context->targets.resize(static_cast<std::size_t>(setup_.tokens()));
  const std::int64_t t = setup_.length;
  for (std::int64_t s = 0; s < setup_.micro_batch; ++s) {
    const auto sample = ids_.begin() + (micro_batch * setup_.micro_batch + s) * (t + 1);
    std::copy(sample, sample + t, context->inputs.begin() + s * t);
    std::copy(sample + 1, sample + t + 1, context->targets.begin() + s * t);
  }
  live_[micro_batch] = std::move(context);
}

void GptStage::close(int micro_batch) {
  free_.push_back(std::move(live_.at(micro_batch)));
  live_.erase(micro_batch);
}

void GptStage::forward(int micro_batch) {
  Context& context = live(micro_batch);
  LayerResources r = resources();
  const std::int64_t sample = first_sample(micro_batch);
  if (embedding_) {
    embedding_->forward(r, step_, sample, {context.inputs.data(), {setup_.tokens()}},
                        tokens_view(context.input));
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].forward(r, step_, sample, context.blocks[i]);
  }
  if (!head_) return;
  head_->forward(r, step_, {context.targets.data(), {setup_.tokens()}}, *context.head,
                 head_gradient_.data(), losses_.data() + micro_batch * setup_.micro_batch);
  if (step_.training && ends_group(micro_batch)) {
    head_fold_->finish_group(stream_, head_gradient_.data());
  }
}

void GptStage::backward(int micro_batch) {
  Context& context = live(micro_batch);
  LayerResources r = resources();
  const std::int64_t sample = first_sample(micro_batch);
  const TensorView d = tokens_view(context.gradient);
  if (head_) {
    context.gradient.clear();
    head_->backward(r, *context.head, d);
  }
  for (std::size_t i = layers_.size(); i-- > 0;) {
    layers_[i].backward(r, step_, sample, context.blocks[i], d);
  }
  if (embedding_) {
    // Its gradient is not sent on, so the buffer may be used up; input_gradient is never asked for.
    embedding_->backward(r, step_, sample, {context.inputs.data(), {setup_.tokens()}}, d);
  }
  if (ends_group(micro_batch)) {
    token_sums_.fold(parameters_.gradients());
    fold_->finish_group(stream_, parameters_.gradients());
  }
}

StageMemory GptStage::memory() const {
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  StageMemory memory;
  memory.weights = parameters_.count() * kFloat;
  memory.scratch = arena_.bytes();
  if (setup_.inference) return memory;
  memory.gradients = parameters_.count() * kFloat + head_gradient_.count() * kFloat +
                     fold_->bytes() + (head_fold_ ? head_fold_->bytes() : 0);
  std::int64_t context = 2 * setup_.tokens() * setup_.config.hidden;
  for (const TransformerBlock& layer : layers_) context += layer.context_count();
  if (head_) context += setup_.tokens() * (setup_.config.hidden + 2);
  memory.activations = context * kFloat * contexts_made_;
  return memory;
}

void GptStage::infer(const SequenceRows& rows, IdView ids, std::span<const LayerCache> caches,
                     TensorView x) {
  TALARIA_CHECK(caches.size() == layers_.size(), "{} caches, {} layers", caches.size(),
                layers_.size());
  LayerResources r = resources();
  if (embedding_) embedding_->infer(r, ids, rows.positions, x);
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].infer(r, rows, caches[i], x);
}

ConstTensorView GptStage::infer_logits(TensorView x) {
  TALARIA_CHECK(head_.has_value(), "not the last stage");
  LayerResources r = resources();
  return head_->infer(r, x);
}

}  // namespace talaria::model
