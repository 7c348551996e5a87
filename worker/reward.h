// SPDX-License-Identifier: Apache-2.0
// Reward models (Ouyang et al. 2022, arXiv:2203.02155, section 3.5): a scalar at the last token of
// each answer, and the loss of all pairs of a prompt's answers, which share a row.
#pragma once

#include <memory>
#include <optional>

#include "model/rl/pairwise.h"
#include "worker/packed_units.h"
#include "worker/task.h"

namespace talaria::worker {

class RewardTask final : public Task {
 public:
  RewardTask(const launch::Job& job, bool leads);

  std::string data_fingerprint() const override { return fingerprint_; }
  std::string tokenizer() const override { return tokenizer_.fingerprint(); }
  void build(const TaskResources& resources) override;
  std::vector<TaskModel> models() override { return {{"", engine_.get()}}; }
  StepReport step(std::int64_t step, bool stop_requested) override;
  std::optional<Evaluation> evaluate() override;
  // Shifts the bias so that the demonstrations' mean reward is 0.
  void finish() override;
  std::int64_t step_tokens() const override;
  double step_flops() const override;

 private:
  storage::ComparisonRow packed_row(const RowUnits<storage::Comparison>& units) const;
  void read_demonstrations(bool leads);

  launch::Job job_;
  storage::Tokenizer tokenizer_;
  PackedUnits<storage::Comparison> units_;
  std::vector<storage::Comparison> demonstrations_;  // each with one answer
  std::string fingerprint_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace talaria::worker
