// SPDX-License-Identifier: Apache-2.0
#include "worker/engine.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "model/generator.h"
#include "parallel/runner.h"

namespace talaria::worker {
namespace {

model::StageSetup make_setup(const launch::Job& job, const parallel::Coordinate& at,
                             const EngineOptions& options) {
  model::StageSetup setup;
  setup.config = job.model;
  setup.head = options.head;
  setup.frozen = options.frozen;
  setup.numerics = job.job.numerics;
  setup.layout = job.parallel.layout;
  setup.at = at;
  setup.micro_batch = job.train.micro_batch;
  setup.length = job.train.sequence_length;
  setup.global_batch = options.rows > 0 ? options.rows : job.step_rows();
  setup.dropout = job.train.dropout;
  setup.seed = job.job.seed;
  model::assign_layers(setup);
  return setup;
}

}  // namespace

std::int64_t max_message_bytes(const launch::Job& job) {
  const std::int64_t activation = job.train.micro_batch * job.train.sequence_length *
                                  job.model.hidden * static_cast<std::int64_t>(sizeof(float));
  const bool generates = job.job.kind == "ppo" || !job.start.reward.empty();
  if (!generates) return activation;
  return std::max(activation, model::Generator::max_message_bytes(job.model));
}

model::LearningRateSchedule learning_rate_schedule(const launch::Job& job,
                                                   std::optional<double> peak) {
  const double factor =
      peak && job.optimizer.learning_rate > 0.0 ? *peak / job.optimizer.learning_rate : 1.0;
  return {factor * job.optimizer.learning_rate, factor * job.optimizer.min_learning_rate,
          job.optimizer.warmup_steps, job.optimizer.decay_steps, job.optimizer.decay};
}

void forward_only(model::GptStage& stage, parallel::Communicator& pipeline,
                  const model::Batch& batch, const model::PassObjective& objective) {
  model::StepContext context;
  context.training = false;
  stage.begin(context, batch, objective);
  const model::StageSetup& setup = stage.setup();
  const auto micro_batches = static_cast<int>(batch.samples() / setup.micro_batch);
  parallel::run_schedule(
      parallel::make_forward_schedule(setup.at.pipeline, setup.layout.pipeline, micro_batches),
      stage, pipeline);
}

Engine::Engine(const launch::Job& job, int rank, Groups& groups, ThreadPool& pool,
               const EngineOptions& options)
    : job_(job),
      options_(options),
      at_(parallel::coordinate_of(job.parallel.layout, rank)),
      groups_(groups) {
  model::Stream stream;
  stream.pool = &pool;
  stream.split_products = !job.job.numerics.invariant;
  stream.matmul_flops = &matmul_flops_;
  stage_ =
      std::make_unique<model::GptStage>(make_setup(job, at_, options), *groups_.tensor, stream);
  if (options.frozen) return;
  const model::OptimizerConfig config = {job.optimizer.beta1, job.optimizer.beta2,
                                         job.optimizer.eps, job.optimizer.weight_decay,
                                         job.optimizer.clip};
  optimizer_ = std::make_unique<model::Optimizer>(*stage_, *groups_.data, *groups_.pipeline, config,
                                                  job.parallel.zero);
  schedule_ =
      parallel::make_schedule(job.parallel.schedule, at_.pipeline, job.parallel.layout.pipeline,
                              static_cast<int>(stage_->setup().micro_batches()));
}

std::int64_t Engine::first_sample() const { return at_.data * stage_->setup().samples_per_rank(); }

template <class Number>
std::vector<Number> Engine::gather_last(std::span<const Number> own) {
  auto count = static_cast<std::int64_t>(own.size());
  const int last = groups_.pipeline->size() - 1;
  groups_.pipeline->broadcast(std::as_writable_bytes(std::span(&count, 1)), last);
  const auto ranks = static_cast<std::size_t>(groups_.data->size());
  std::vector<Number> all(static_cast<std::size_t>(count) * ranks);
  if (at_.pipeline == last) {
    std::copy(own.begin(), own.end(), all.begin() + groups_.data->rank() * count);
    groups_.data->all_gather(std::as_writable_bytes(std::span(all)));
  }
  groups_.pipeline->broadcast(std::as_writable_bytes(std::span(all)), last);
  return all;
}

std::vector<float> Engine::gather(std::span<const float> own) { return gather_last(own); }

StepReport Engine::train_step(std::int64_t step, const model::Batch& batch, bool stop_requested) {
  const auto tokens = static_cast<double>(job_.train.global_batch * job_.train.sequence_length);
  model::CrossEntropyObjective objective(batch.weights, static_cast<float>(1.0 / tokens));
  return train_step(step, batch, {.tokens = &objective}, tokens, stop_requested);
}

StepReport Engine::train_step(std::int64_t step, const model::Batch& batch,
                              const model::PassObjective& objective, double divisor,
                              bool stop_requested) {
  model::StepContext context;
  context.step = static_cast<std::uint32_t>(step);
  context.seed = job_.job.seed;
  context.dropout = job_.train.dropout;
  stage_->begin(context, batch, objective);
  StepReport report;
  report.max_live = parallel::run_schedule(schedule_, *stage_, *groups_.pipeline).max_live;
  stage_->finish();
  report.sample_losses = gather_last(stage_->sample_losses());
  optimizer_->reduce_gradients();
  const model::NormPart part = optimizer_->norm_part();

  bool own_loss_finite = true;
  for (const double loss : stage_->sample_losses()) own_loss_finite &= std::isfinite(loss);
  // One exact sum tells every rank the norm, who saw a non-finite number, and whether to stop.
  const std::size_t digits = model::ExactSum::kDigits;
  const auto ranks = static_cast<std::size_t>(groups_.world->size());
  std::vector<std::int64_t> shared(digits + ranks + 1, 0);
  std::copy(part.sum_of_squares.digits().begin(), part.sum_of_squares.digits().end(),
            shared.begin());
  shared[digits + static_cast<std::size_t>(groups_.world->rank())] =
      part.finite && own_loss_finite ? 0 : 1;
  shared[digits + ranks] = stop_requested ? 1 : 0;
  groups_.world->all_reduce_sum(std::span(shared));

  model::ExactSum total;
  std::copy_n(shared.begin(), digits, total.digits().begin());
  report.grad_norm = std::sqrt(total.value());
  report.stop = shared[digits + ranks] != 0;
  for (std::size_t r = 0; r < ranks && report.nonfinite_rank < 0; ++r) {
    if (shared[digits + r] != 0) report.nonfinite_rank = static_cast<int>(r);
  }
  double loss = 0.0;
  for (const double sample : report.sample_losses) loss += sample;
  report.loss = loss / divisor;
  report.learning_rate =
      model::learning_rate(learning_rate_schedule(job_, options_.learning_rate), step);
  report.applied = report.nonfinite_rank < 0;
  if (report.applied) optimizer_->apply(report.learning_rate, report.grad_norm);
  return report;
}

std::vector<double> Engine::evaluate(const model::Batch& batch,
                                     const model::PassObjective& objective) {
  forward_only(*stage_, *groups_.pipeline, batch, objective);
  return gather_last(stage_->sample_losses());
}

}  // namespace talaria::worker
