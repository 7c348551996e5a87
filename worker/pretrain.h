// SPDX-License-Identifier: Apache-2.0
// Pretraining: next-token loss on windows of token files.
#pragma once

#include <memory>

#include "storage/text/dataset.h"
#include "worker/samples.h"
#include "worker/task.h"

namespace talaria::worker {

class PretrainTask final : public Task {
 public:
  explicit PretrainTask(const launch::Job& job);

  std::string data_fingerprint() const override { return data_.fingerprint(); }
  std::string tokenizer() const override { return data_.tokenizer(); }
  void build(const TaskResources& resources) override;
  std::vector<TaskModel> models() override { return {{"", engine_.get()}}; }
  StepReport step(std::int64_t step, bool stop_requested) override;
  std::optional<Evaluation> evaluate() override;
  void check_unchanged() const override { data_.check_unchanged(); }
  std::int64_t step_tokens() const override;
  double step_flops() const override;

 private:
  launch::Job job_;
  storage::Dataset data_;
  EvaluationPlan plan_;            // the same at every evaluation
  double validation_bytes_ = 0.0;  // of the text that an evaluation's targets stand for
  std::unique_ptr<Engine> engine_;
};

}  // namespace talaria::worker
