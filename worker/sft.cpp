// SPDX-License-Identifier: Apache-2.0
#include "worker/sft.h"

#include <algorithm>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "worker/samples.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

std::int64_t trained_tokens_of(const storage::Conversation& conversation) {
  return std::count_if(conversation.trained.begin() + 1, conversation.trained.end(),
                       [](std::uint8_t trained) { return trained != 0; });
}

std::vector<std::filesystem::path> paths(const std::vector<std::string>& files) {
  return {files.begin(), files.end()};
}

}  // namespace

SftTask::SftTask(const launch::Job& job, bool leads) : job_(job), tokenizer_(open_tokenizer(job)) {
  pad_ = tokenizer_->end_of_text();
  const std::int64_t longest = std::min(job.train.sequence_length, job.model.context);
  storage::ChatCounts counts;
  // n ids are n - 1 tokens of a row.
  auto split =
      split_units(storage::read_conversations(paths(job.data.files), *tokenizer_,
                                              chat_options(job, longest + 1, leads), counts),
                  job.data.validation);
  training_ = std::move(split.training);
  validation_ = std::move(split.validation);
  if (leads) tell_counts(counts, "conversations", training_.size(), validation_.size());
  if (training_.empty()) {
    fail_usage(
        "data.files: no conversation is left for training; lower data.validation, or bring "
        "more of them");
  }
  rows_.emplace(storage::row_tokens(training_), job.train.sequence_length, job.data.packing,
                job.job.seed);
  check_selectable(job, validation_.size());
  if (!validation_.empty()) {
    validation_rows_ = storage::pack_epoch(storage::row_tokens(validation_),
                                           job.train.sequence_length, job.data.packing, 0, 0);
    const auto most = static_cast<std::size_t>(job.train.eval_samples);
    if (validation_rows_.size() > most) validation_rows_.resize(most);
  }
  if (!job.start.reward.empty()) reward_.emplace(job, *tokenizer_, validation_, leads);
  fingerprint_ = files_fingerprint(job, job.data.files, *tokenizer_);
  if (job.mix.rows > 0) {
    mix_.emplace(open_dataset(job));
    fingerprint_ = fmt::format("{}+{}", fingerprint_, mix_->fingerprint());
  }
  if (leads) {
    log_info("{} rows an epoch, {:.1f} epochs", rows_->rows_in_first_epoch(),
             static_cast<double>(job.train.steps * job.train.global_batch) /
                 static_cast<double>(rows_->rows_in_first_epoch()));
  }
}

void SftTask::build(const TaskResources& resources) {
  engine_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool);
  load_start("weights", job_.start.weights, StartUse::kTrained, resources, *engine_);
  if (reward_) reward_->open(resources);
}

storage::Row SftTask::packed_row(std::span<const std::int32_t> units,
                                 const std::vector<storage::Conversation>& from) const {
  std::vector<const storage::Conversation*> conversations;
  for (const std::int32_t unit : units) {
    conversations.push_back(&from[static_cast<std::size_t>(unit)]);
  }
  return storage::conversation_row(conversations, job_.train.sequence_length, pad_);
}

std::int64_t SftTask::trained_tokens(std::int64_t step) {
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < job_.train.global_batch; ++i) {
    for (const std::int32_t unit : rows_->row(step * job_.train.global_batch + i)) {
      tokens += trained_tokens_of(training_[static_cast<std::size_t>(unit)]);
    }
  }
  return tokens;
}

StepReport SftTask::step(std::int64_t step, bool stop_requested) {
  const auto tokens = static_cast<double>(trained_tokens(step));
  const auto mix_tokens = static_cast<double>(job_.mix.rows * job_.train.sequence_length);
  // So that both parts are divided by the same number.
  const auto mix_weight =
      job_.mix.rows == 0 ? 0.0F : static_cast<float>(job_.mix.coefficient * tokens / mix_tokens);
  model::Batch batch;
  batch.length = job_.train.sequence_length;
  for (const RowPlace& place : rows_of_rank(job_, engine_->at().data)) {
    if (place.mix) {
      append_window(*mix_, step * job_.mix.rows + place.index, mix_weight, batch);
    } else {
      append_row(packed_row(rows_->row(step * job_.train.global_batch + place.index), training_),
                 batch);
    }
  }
  model::CrossEntropyObjective objective(batch.weights, static_cast<float>(1.0 / tokens));
  StepReport report =
      engine_->train_step(step, batch, {.tokens = &objective}, tokens, stop_requested);
  if (job_.mix.rows > 0) {
    double main = 0.0;
    double mix = 0.0;
    const std::vector<RowPlace> places = rows_of_step(job_);
    for (std::size_t s = 0; s < places.size(); ++s) {
      (places[s].mix ? mix : main) += report.sample_losses[s];
    }
    report.loss = main / tokens;
    // Without a weight the rows' losses are not known.
    if (mix_weight > 0.0F) {
      report.metrics["mix_loss"] = mix / static_cast<double>(mix_weight) / mix_tokens;
    }
  }
  report.metrics["trained_tokens"] = tokens;
  return report;
}

std::optional<Evaluation> SftTask::evaluate() {
  if (validation_rows_.empty()) return std::nullopt;
  const auto rows = static_cast<std::int64_t>(validation_rows_.size());
  const EvaluationPlan plan = plan_evaluation(rows, job_);
  model::Batch batch;
  batch.length = job_.train.sequence_length;
  for (std::int64_t i = 0; i < plan.per_rank; ++i) {
    const std::int64_t index = engine_->at().data * plan.per_rank + i;
    const auto row = static_cast<std::size_t>(index < plan.samples ? index : 0);
    append_row(packed_row(validation_rows_[row], validation_), batch);
  }
  const std::vector<double> losses = engine_->evaluate(batch);
  double sum = 0.0;
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < plan.samples; ++i) {
    sum += losses[static_cast<std::size_t>(i)];
    for (const std::int32_t unit : validation_rows_[static_cast<std::size_t>(i)]) {
      tokens += trained_tokens_of(validation_[static_cast<std::size_t>(unit)]);
    }
  }
  Evaluation found;
  found.loss = sum / static_cast<double>(tokens);
  if (reward_) {
    const double reward = reward_->measure(*engine_);
    found.metrics["validation_reward"] = reward;
    found.objective = -reward;
  }
  return found;
}

void SftTask::check_unchanged() const {
  if (mix_) mix_->check_unchanged();
}

std::int64_t SftTask::step_tokens() const { return job_.step_rows() * job_.train.sequence_length; }

double SftTask::step_flops() const {
  return model::step_flops(job_.model, step_tokens(), job_.train.sequence_length);
}

}  // namespace talaria::worker
