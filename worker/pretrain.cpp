// SPDX-License-Identifier: Apache-2.0
#include "worker/pretrain.h"

#include <numbers>

#include "worker/start.h"

namespace talaria::worker {

PretrainTask::PretrainTask(const launch::Job& job)
    : job_(job), data_(open_dataset(job)), plan_(plan_evaluation(data_, job)) {
  for (std::int64_t s = 0; s < plan_.samples; ++s) {
    validation_bytes_ += static_cast<double>(data_.validation_bytes(s));
  }
}

void PretrainTask::build(const TaskResources& resources) {
  engine_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool);
  load_start("weights", job_.start.weights, StartUse::kTrained, resources, *engine_);
}

StepReport PretrainTask::step(std::int64_t step, bool stop_requested) {
  return engine_->train_step(step, training_batch(data_, job_, step, engine_->first_sample()),
                             stop_requested);
}

std::optional<Evaluation> PretrainTask::evaluate() {
  if (plan_.samples == 0) return std::nullopt;
  const std::vector<double> losses =
      engine_->evaluate(evaluation_batch(data_, job_, plan_, engine_->at().data));
  double sum = 0.0;
  for (std::int64_t s = 0; s < plan_.samples; ++s) sum += losses[static_cast<std::size_t>(s)];
  data_.check_unchanged();
  const auto tokens = static_cast<double>(plan_.samples * job_.train.sequence_length);
  Evaluation found;
  found.loss = sum / tokens;
  if (validation_bytes_ > 0) {
    found.metrics["validation_bits_per_byte"] =
        found.loss * tokens / std::numbers::ln2 / validation_bytes_;
  }
  return found;
}

std::int64_t PretrainTask::step_tokens() const {
  return job_.train.global_batch * job_.train.sequence_length;
}

double PretrainTask::step_flops() const {
  return model::step_flops(job_.model, step_tokens(), job_.train.sequence_length);
}

}  // namespace talaria::worker
