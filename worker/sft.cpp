// SPDX-License-Identifier: Apache-2.0
#include "worker/sft.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "worker/forward_pass.h"
#include "worker/samples.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

// The trained tokens of a row.
std::int64_t trained_tokens_of(const RowUnits<storage::Conversation>& units) {
  std::int64_t tokens = 0;
  for (const storage::Conversation* unit : units) {
    tokens += std::count_if(unit->trained.begin() + 1, unit->trained.end(),
                            [](std::uint8_t trained) { return trained != 0; });
  }
  return tokens;
}

PackedUnits<storage::Conversation> read_units(const launch::Job& job,
                                              const storage::Tokenizer& tokenizer, bool leads) {
  // n ids are n - 1 tokens of a row.
  const std::int64_t longest = std::min(job.train.sequence_length, job.model.context) + 1;
  storage::ChatCounts counts;
  auto units = storage::read_conversations({job.data.files.begin(), job.data.files.end()},
                                           tokenizer, chat_options(job, longest, leads), counts);
  return {job,
          std::move(units),
          counts,
          {"conversation", "conversations", "lower data.validation, or bring more of them"},
          leads};
}

}  // namespace

SftTask::SftTask(const launch::Job& job, bool leads)
    : job_(job),
      tokenizer_(open_tokenizer(job)),
      units_(read_units(job, tokenizer_, leads)),
      fingerprint_(files_fingerprint(job, job.data.files, tokenizer_)) {
  if (!job.start.reward.empty()) {
    reward_.emplace(job, tokenizer_, units_.validation_units(), leads);
  }
  if (job.mix.rows == 0) return;
  mix_.emplace(open_dataset(job));
  fingerprint_ = fmt::format("{}+{}", fingerprint_, mix_->fingerprint());
}

void SftTask::build(const TaskResources& resources) {
  engine_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool);
  load_start("weights", job_.start.weights, StartUse::kTrained, resources, *engine_);
  if (reward_) reward_->open(resources);
}

storage::Row SftTask::packed_row(const RowUnits<storage::Conversation>& units) const {
  return storage::conversation_row(units, job_.train.sequence_length, tokenizer_.end_of_text());
}

std::int64_t SftTask::trained_tokens(std::int64_t step) {
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < job_.train.global_batch; ++i) {
    tokens += trained_tokens_of(units_.training(step * job_.train.global_batch + i));
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
      append_row(packed_row(units_.training(step * job_.train.global_batch + place.index)), batch);
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
  const std::int64_t rows = units_.validation_rows();
  if (rows == 0) return std::nullopt;
  const std::vector<double> losses = engine_->evaluate(
      part_of_rank(*engine_, job_, rows, [&](std::int64_t row, model::Batch& batch) {
        append_row(packed_row(units_.validation(row)), batch);
      }));
  double sum = 0.0;
  std::int64_t tokens = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    sum += losses[static_cast<std::size_t>(row)];
    tokens += trained_tokens_of(units_.validation(row));
  }
  Evaluation found;
  found.loss = sum / static_cast<double>(tokens);
  if (reward_) {
    // A model of which a loss is no number has no answers to draw.
    const double reward = std::isfinite(found.loss) ? reward_->measure(*engine_)
                                                    : std::numeric_limits<double>::quiet_NaN();
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
