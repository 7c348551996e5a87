// SPDX-License-Identifier: Apache-2.0
#include "worker/reward.h"

#include <cmath>
#include <span>
#include <utility>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "worker/comparison_rows.h"
#include "worker/exchange.h"
#include "worker/forward_pass.h"
#include "worker/preference.h"
#include "worker/start.h"

namespace talaria::worker {

namespace {

PackedUnits<storage::Comparison> read_units(const launch::Job& job,
                                            const storage::Tokenizer& tokenizer, bool leads) {
  storage::ChatCounts counts;
  auto units =
      storage::read_comparisons({job.data.files.begin(), job.data.files.end()}, tokenizer,
                                chat_options(job, job.train.sequence_length, leads), counts);
  drop_long(units, job.model.context, counts);
  return {job,
          std::move(units),
          counts,
          {"comparison", "comparisons",
           "raise train.sequence_length (a row holds all answers of a prompt) or model.context, "
           "lower data.validation, or bring more of them"},
          leads};
}

}  // namespace

RewardTask::RewardTask(const launch::Job& job, bool leads)
    : job_(job), tokenizer_(open_tokenizer(job)), units_(read_units(job, tokenizer_, leads)) {
  read_demonstrations(leads);
  std::vector<std::string> files = job.data.files;
  files.insert(files.end(), job.reward.demonstrations.begin(), job.reward.demonstrations.end());
  fingerprint_ = files_fingerprint(job, files, tokenizer_);
}

void RewardTask::read_demonstrations(bool leads) {
  if (job_.reward.demonstrations.empty()) return;
  const std::int64_t longest = std::min(job_.train.sequence_length, job_.model.context);
  storage::ChatCounts counts;
  for (storage::Conversation& each : storage::read_conversations(
           {job_.reward.demonstrations.begin(), job_.reward.demonstrations.end()}, tokenizer_,
           chat_options(job_, longest, leads), counts)) {
    demonstrations_.push_back({{}, {std::move(each.ids)}, {0}, each.hash, {}});
  }
  if (leads) tell_counts(counts, "demonstrations", demonstrations_.size());
}

void RewardTask::build(const TaskResources& resources) {
  engine_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool,
                                     EngineOptions{.head = model::HeadKind::kScalar});
  load_start("weights", job_.start.weights, StartUse::kTrained, resources, *engine_);
}

storage::ComparisonRow RewardTask::packed_row(const RowUnits<storage::Comparison>& units) const {
  return storage::comparison_row(units, job_.train.sequence_length, tokenizer_.end_of_text());
}

StepReport RewardTask::step(std::int64_t step, bool stop_requested) {
  const std::int64_t first = step * job_.train.global_batch;
  std::size_t comparisons = 0;
  for (std::int64_t i = 0; i < job_.train.global_batch; ++i) {
    comparisons += units_.training(first + i).size();
  }
  model::Batch batch;
  std::vector<RowComparisons> of_rows;
  for (std::int64_t i = 0; i < job_.samples_per_rank(); ++i) {
    const auto units = units_.training(first + engine_->first_sample() + i);
    const storage::ComparisonRow row = packed_row(units);
    append_row(row.row, batch);
    of_rows.push_back(comparisons_of(row, units));
  }
  const auto divisor = static_cast<double>(comparisons);
  PairwiseObjective objective(of_rows, divisor);
  StepReport report =
      engine_->train_step(step, batch, {.scalars = &objective}, divisor, stop_requested);

  const std::vector<float> values = engine_->gather(engine_->stage().token_values());
  const auto t = static_cast<std::size_t>(job_.train.sequence_length);
  PreferenceCounter counter;
  for (std::int64_t i = 0; i < job_.train.global_batch; ++i) {
    const auto units = units_.training(first + i);
    counter.add(comparisons_of(packed_row(units), units),
                std::span(values).subspan(static_cast<std::size_t>(i) * t, t));
  }
  report.metrics["training_accuracy"] = counter.accuracy();
  report.metrics["comparisons"] = divisor;
  return report;
}

std::optional<Evaluation> RewardTask::evaluate() {
  const std::int64_t rows = units_.validation_rows();
  if (rows == 0) return std::nullopt;
  const auto values = forward_pass(*engine_, job_, rows,
                                   [&](std::int64_t row, model::Batch& batch) {
                                     append_row(packed_row(units_.validation(row)).row, batch);
                                   },
                                   {TokenNumber::kValue});
  const auto t = static_cast<std::size_t>(job_.train.sequence_length);
  PreferenceCounter counter;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto units = units_.validation(row);
    counter.add(comparisons_of(packed_row(units), units),
                std::span(values[0]).subspan(static_cast<std::size_t>(row) * t, t));
  }
  return Evaluation{counter.loss(), counter.metrics(), std::nullopt};
}

void RewardTask::finish() {
  if (demonstrations_.empty()) return;
  const auto rows = storage::pack_epoch(storage::row_tokens(demonstrations_),
                                        job_.train.sequence_length, true, 0, 0);
  const auto packed = [&](std::size_t row) {
    return packed_row(units_at<storage::Comparison>(rows[row], demonstrations_));
  };
  const auto values = forward_pass(*engine_, job_, static_cast<std::int64_t>(rows.size()),
                                   [&](std::int64_t row, model::Batch& batch) {
                                     append_row(packed(static_cast<std::size_t>(row)).row, batch);
                                   },
                                   {TokenNumber::kValue});
  double sum = 0.0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const auto& places : packed(row).places) {
      sum +=
          static_cast<double>(values[0][row * static_cast<std::size_t>(job_.train.sequence_length) +
                                        static_cast<std::size_t>(places[0].last)]);
    }
  }
  const double mean = sum / static_cast<double>(demonstrations_.size());
  agree_or_throw(*engine_->groups().world, [&] {
    if (std::isfinite(mean)) return;
    fail(
        "reward.demonstrations: their mean reward is {}, so the bias cannot be shifted; lower "
        "optimizer.learning_rate and train again",
        mean);
  });
  for (const parallel::NamedBox& box : engine_->stage().parameters().weight_boxes()) {
    if (box.tensor == "value_head.bias") box.data[0] -= static_cast<float>(mean);
  }
  if (engine_->groups().world->rank() != 0) return;
  log_info("the bias was shifted by {:.4f}: the mean reward of {} demonstrations is 0", -mean,
           demonstrations_.size());
}

std::int64_t RewardTask::step_tokens() const {
  return job_.train.global_batch * job_.train.sequence_length;
}

double RewardTask::step_flops() const {
  return model::step_flops(job_.model, step_tokens(), job_.train.sequence_length);
}

}  // namespace talaria::worker
