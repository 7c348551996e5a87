// SPDX-License-Identifier: Apache-2.0
// Reward models (Ouyang et al. 2022, arXiv:2203.02155, section 3.5): a scalar at the last token of
// each answer, and the loss of all pairs of a prompt's answers, which share a row.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "model/rl/pairwise.h"
#include "worker/chat_data.h"
#include "worker/task.h"

namespace talaria::worker {

class RewardTask final : public Task {
 public:
  RewardTask(const launch::Job& job, bool leads);

  std::string data_fingerprint() const override { return fingerprint_; }
  std::string tokenizer() const override { return tokenizer_->fingerprint(); }
  void build(const TaskResources& resources) override;
  std::vector<TaskModel> models() override { return {{"", engine_.get()}}; }
  StepReport step(std::int64_t step, bool stop_requested) override;
  std::optional<Evaluation> evaluate() override;
  // Shifts the bias so that the demonstrations' mean reward is 0.
  void finish() override;
  std::int64_t step_tokens() const override;
  double step_flops() const override;

 private:
  storage::ComparisonRow packed_row(std::span<const std::int32_t> units,
                                    const std::vector<storage::Comparison>& from) const;
  void read_demonstrations(bool leads);

  launch::Job job_;
  std::optional<storage::Tokenizer> tokenizer_;
  std::int32_t pad_ = 0;
  std::vector<storage::Comparison> training_;
  std::vector<storage::Comparison> validation_;
  std::vector<storage::Comparison> demonstrations_;  // each with one answer
  std::optional<storage::PackedRows> rows_;
  std::vector<std::vector<std::int32_t>> validation_rows_;
  std::string fingerprint_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace talaria::worker
