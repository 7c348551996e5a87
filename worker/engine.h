// SPDX-License-Identifier: Apache-2.0
// One training step over all ranks: pipeline schedule, losses, gradient reduction, global norm,
// update. Knows no files and no signals; the trainer feeds it samples and asks it for boxes to
// save.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "launch/job.h"
#include "model/gpt_stage.h"
#include "model/learning_rate.h"
#include "model/optimizer.h"
#include "parallel/communicator.h"
#include "parallel/mesh.h"

namespace talaria::worker {

// This rank's groups.
struct Groups {
  std::unique_ptr<parallel::Communicator> world;
  std::unique_ptr<parallel::Communicator> tensor;
  std::unique_ptr<parallel::Communicator> pipeline;
  std::unique_ptr<parallel::Communicator> data;
};

// The largest message of any of the groups in bytes: of an activation, or of what is generated.
std::int64_t max_message_bytes(const launch::Job& job);

struct StepReport {
  double loss = 0.0;       // mean over the tokens of the global batch, the same on all ranks
  double grad_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  bool applied = true;      // false: loss or norm was not finite, the step was skipped by all
  int nonfinite_rank = -1;  // the first rank that saw it
  bool stop = false;        // some rank was asked to stop
  int max_live = 0;         // micro-batches this rank held at once
  std::vector<double> sample_losses;      // of the global batch, by index
  std::map<std::string, double> metrics;  // further numbers, by their names in metrics.jsonl
};

// What one of a job's models is, where it is not the job's only one.
struct EngineOptions {
  model::HeadKind head = model::HeadKind::kLanguageModel;
  bool frozen = false;    // only evaluates: no gradients, no optimizer
  std::int64_t rows = 0;  // of a training step, all data ranks; 0: job.step_rows()
  std::optional<double> learning_rate = {};  // peak; else optimizer.learning_rate
};

class Engine {
 public:
  // `groups` and `pool` must outlive the engine. Collective over the world.
  Engine(const launch::Job& job, int rank, Groups& groups, ThreadPool& pool,
         const EngineOptions& options = {});

  // Step `step` (from 0). `batch`: this data rank's samples_per_rank() samples, the first being
  // global sample first_sample(). Collective over the world.
  // Minimises the mean cross-entropy of all tokens, each times its weight.
  StepReport train_step(std::int64_t step, const model::Batch& batch, bool stop_requested);
  // Minimises `objective`, whose derivatives hold its division by `divisor`; the reported loss is
  // the sum of all samples' losses / divisor.
  StepReport train_step(std::int64_t step, const model::Batch& batch,
                        const model::PassObjective& objective, double divisor, bool stop_requested);

  // Loss sums (f64) of every sample of an evaluation, in order; the same on all ranks. Tokens'
  // numbers are left in stage().
  // `batch`: this data rank's samples; every data rank brings the same number, a multiple of
  // micro_batch. Collective over the world.
  std::vector<double> evaluate(const model::Batch& batch,
                               const model::PassObjective& objective = {});

  // What the last stage of every data rank holds, one number of each token or sample of its batch
  // (stage().token_nll(), for example; empty elsewhere), laid end to end by data rank: the same on
  // all ranks. Collective over the world.
  std::vector<float> gather(std::span<const float> own);

  // Index in the step's global batch of this data rank's first sample.
  std::int64_t first_sample() const;

  model::GptStage& stage() { return *stage_; }
  // Not of a frozen model.
  model::Optimizer& optimizer() { return *optimizer_; }
  Groups& groups() { return groups_; }
  const parallel::Coordinate& at() const { return at_; }
  std::uint64_t matmul_flops() const { return matmul_flops_; }

 private:
  template <class Number>
  std::vector<Number> gather_last(std::span<const Number> own);

  launch::Job job_;
  EngineOptions options_;
  parallel::Coordinate at_;
  Groups& groups_;
  std::uint64_t matmul_flops_ = 0;
  std::unique_ptr<model::GptStage> stage_;
  std::unique_ptr<model::Optimizer> optimizer_;
  parallel::Schedule schedule_;
};

// One pass without gradients over a batch of whole micro-batches; its numbers are left in `stage`.
// Collective over the stage's tensor group and `pipeline`.
void forward_only(model::GptStage& stage, parallel::Communicator& pipeline,
                  const model::Batch& batch, const model::PassObjective& objective = {});

// `peak` in the place of optimizer.learning_rate, the end of the decay in proportion; 0: as it is.
model::LearningRateSchedule learning_rate_schedule(const launch::Job& job,
                                                   std::optional<double> peak = std::nullopt);

}  // namespace talaria::worker
