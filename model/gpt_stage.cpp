// SPDX-License-Identifier: Apache-2.0
#include "model/gpt_stage.h"

#include <algorithm>
#include <cstring>

#include "model/scalar_head.h"
#include "parallel/schedule.h"

namespace talaria::model {

std::vector<double> unit_costs(const GptConfig& config, std::int64_t length, HeadKind head) {
  const auto c = static_cast<double>(config.hidden);
  const auto t = static_cast<double>(length);
  const double block =
      t * (2.0 * (4.0 * c * c + 2.0 * c * static_cast<double>(config.ffn)) + 4.0 * t * c);
  std::vector<double> costs(static_cast<std::size_t>(config.layers), block);
  const double outputs = head == HeadKind::kScalar ? 1.0 : static_cast<double>(config.vocab);
  costs.push_back(2.0 * t * c * outputs);
  return costs;
}

void assign_layers(StageSetup& setup) {
  const auto bounds = parallel::cut_by_cost(unit_costs(setup.config, setup.length, setup.head),
                                            setup.layout.pipeline);
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
  if (setup_.is_last()) add_head();
  parameters_.allocate(!setup_.frozen);
  if (setup_.draw_weights) parameters_.initialise(setup_.seed, pool());
  if (setup_.frozen) return;
  token_sums_.allocate();
  fold_.emplace(parameters_.count(), setup_.local_groups());
}

void GptStage::add_head() {
  if (setup_.head == HeadKind::kScalar) {
    head_ = std::make_unique<ScalarHead>(setup_, parameters_, token_sums_);
    return;
  }
  auto head = std::make_unique<LanguageModelHead>(setup_, tokens_offset_, parameters_, token_sums_);
  language_head_ = head.get();
  head_ = std::move(head);
}

std::int64_t GptStage::tokens_count() const {
  return holds_tokens() ? setup_.shards() * setup_.vocab_per_shard() * setup_.config.hidden : 0;
}

float* GptStage::separate_head_gradient() {
  return setup_.is_first() && head_ ? head_->tied_gradient() : nullptr;
}

LayerResources GptStage::resources() {
  return {stream_, tensor_, parameters_, token_sums_, arena_};
}

TensorView GptStage::tokens_view(HostBuffer<float>& buffer) const {
  return {buffer.data(), {setup_.tokens(), setup_.config.hidden}};
}

bool GptStage::ends_group(int micro_batch) const {
  return (micro_batch + 1) % setup_.micro_batches_per_group() == 0;
}

MicroBatch GptStage::micro_batch_view(int micro_batch) const {
  const auto part = [&](const std::vector<std::int32_t>& list) {
    return IdView(list.data() + micro_batch * setup_.tokens(), {setup_.tokens()});
  };
  MicroBatch view;
  view.first_sample = setup_.at.data * setup_.samples_per_rank() + micro_batch * setup_.micro_batch;
  view.first_token = micro_batch * setup_.tokens();
  view.inputs = part(batch_.inputs);
  view.targets = part(batch_.targets);
  view.starts = part(batch_.starts);
  view.positions = part(positions_);
  return view;
}

void GptStage::begin(const StepContext& step, const Batch& batch, const PassObjective& objective) {
  check_batch(batch);
  TALARIA_CHECK(!step.training || !setup_.frozen, "a frozen model cannot train");
  TALARIA_CHECK(batch.length == setup_.length && batch.samples() % setup_.micro_batch == 0,
                "{} rows of {} tokens in micro-batches of {} x {}", batch.samples(), batch.length,
                setup_.micro_batch, setup_.length);
  step_ = step;
  batch_ = batch;
  positions_.resize(batch.starts.size());
  for (std::size_t i = 0; i < positions_.size(); ++i) {
    const auto t = static_cast<std::int32_t>(i % static_cast<std::size_t>(setup_.length));
    positions_[i] = t - batch.starts[i];
    TALARIA_CHECK(positions_[i] < setup_.config.context, "position {} of {}", positions_[i],
                  setup_.config.context);
  }
  pass_.batch = &batch_;
  pass_.objective = objective;
  if (head_) head_->begin(step_, pass_);
  if (!step.training) return;
  std::memset(parameters_.gradients(), 0,
              static_cast<std::size_t>(parameters_.count()) * sizeof(float));
}

void GptStage::finish() {
  // With a pipeline the last stage's copy of the embedding has no other gradient than the head's.
  if (head_ && setup_.tied() && !setup_.is_first()) {
    std::memcpy(parameters_.gradients() + tokens_offset_, head_->tied_gradient(),
                static_cast<std::size_t>(tokens_count()) * sizeof(float));
  }
}

std::unique_ptr<GptStage::Context> GptStage::make_context() const {
  auto context = std::make_unique<Context>();
  const std::int64_t count = setup_.tokens() * setup_.config.hidden;
  context->input = HostBuffer<float>(count);
  if (!setup_.frozen) context->gradient = HostBuffer<float>(count);
  for (std::size_t i = 0; i < buffered_layers(); ++i) {
    context->buffers.emplace_back(layers_[i].context_count());
  }
  const float* below = context->input.data();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    // With two buffers a layer overwrites what the one before the last left.
    BlockContext block = layers_[i].make_context(context->buffers[i % buffered_layers()].data());
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

std::size_t GptStage::buffered_layers() const {
  return setup_.frozen ? std::min<std::size_t>(2, layers_.size()) : layers_.size();
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
  live_[micro_batch] = std::move(context);
}

void GptStage::close(int micro_batch) {
  free_.push_back(std::move(live_.at(micro_batch)));
  live_.erase(micro_batch);
}

void GptStage::forward(int micro_batch) {
  Context& context = live(micro_batch);
  LayerResources r = resources();
  const MicroBatch batch = micro_batch_view(micro_batch);
  if (embedding_) {
    embedding_->forward(r, step_, batch, tokens_view(context.input));
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].forward(r, step_, batch, context.blocks[i]);
  }
  if (!head_) return;
  head_->forward(r, step_, batch, *context.head, pass_);
  if (step_.training && ends_group(micro_batch)) head_->finish_group(stream_);
}

void GptStage::backward(int micro_batch) {
  Context& context = live(micro_batch);
  LayerResources r = resources();
  const MicroBatch batch = micro_batch_view(micro_batch);
  const TensorView d = tokens_view(context.gradient);
  if (head_) {
    context.gradient.clear();
    head_->backward(r, *context.head, d);
  }
  for (std::size_t i = layers_.size(); i-- > 0;) {
    layers_[i].backward(r, step_, batch, context.blocks[i], d);
  }
  if (embedding_) {
    // Its gradient is not sent on, so the buffer may be used up; input_gradient is never asked for.
    embedding_->backward(r, step_, batch, d);
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
  if (!setup_.frozen) {
    memory.gradients =
        parameters_.count() * kFloat + fold_->bytes() + (head_ ? head_->gradient_bytes() : 0);
  }
  std::int64_t context = (setup_.frozen ? 1 : 2) * setup_.tokens() * setup_.config.hidden;
  for (std::size_t i = 0; i < buffered_layers(); ++i) context += layers_[i].context_count();
  if (head_) context += head_->context_count();
  memory.scratch = arena_.bytes();
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
  TALARIA_CHECK(language_head_ != nullptr, "no language model's last stage");
  LayerResources r = resources();
  return language_head_->infer(r, x);
}

}  // namespace talaria::model
