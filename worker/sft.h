// SPDX-License-Identifier: Apache-2.0
// Supervised fine-tuning: next-token loss on the assistant's tokens of conversations, several of
// which share a row, and where the job says so rows of pretraining text beside them. A reward
// model may judge its answers.
#pragma once

#include <memory>
#include <optional>

#include "worker/packed_units.h"
#include "worker/row_layout.h"
#include "worker/task.h"
#include "worker/validation_reward.h"

namespace talaria::worker {

class SftTask final : public Task {
 public:
  SftTask(const launch::Job& job, bool leads);

  std::string data_fingerprint() const override { return fingerprint_; }
  std::string tokenizer() const override { return tokenizer_.fingerprint(); }
  void build(const TaskResources& resources) override;
  std::vector<TaskModel> models() override { return {{"", engine_.get()}}; }
  StepReport step(std::int64_t step, bool stop_requested) override;
  std::optional<Evaluation> evaluate() override;
  void check_unchanged() const override;
  std::int64_t step_tokens() const override;
  double step_flops() const override;

 private:
  storage::Row packed_row(const RowUnits<storage::Conversation>& units) const;
  // Tokens of weight 1 in the main rows of a step.
  std::int64_t trained_tokens(std::int64_t step);

  launch::Job job_;
  storage::Tokenizer tokenizer_;
  PackedUnits<storage::Conversation> units_;
  std::optional<ValidationReward> reward_;  // with start.reward
  std::optional<storage::Dataset> mix_;
  std::string fingerprint_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace talaria::worker
