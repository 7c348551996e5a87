// SPDX-License-Identifier: Apache-2.0
// One training step over all ranks: pipeline schedule, losses, gradient reduction, global norm,
// update. Knows no files and no signals; the trainer feeds it samples and asks it for boxes to
// save.
#pragma once

#include <cstdint>
#include <memory>
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

// The largest message that any of the groups sends: an activation of one micro-batch, in bytes.
std::int64_t max_message_bytes(const launch::Job& job);

struct StepReport {
  double loss = 0.0;       // mean over the tokens of the global batch, the same on all ranks
  double grad_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  bool applied = true;      // false: loss or norm was not finite, the step was skipped by all
  int nonfinite_rank = -1;  // the first rank that saw it
  bool stop = false;        // some rank was asked to stop
  int max_live = 0;         // micro-batches this rank held at once
};

class Engine {
 public:
  // `pool` must outlive the engine. Collective over the world.
  Engine(const launch::Job& job, int rank, Groups groups, ThreadPool& pool,
         model::HeadKind head = model::HeadKind::kLanguageModel);

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

  // Index in the step's global batch of this data rank's first sample.
  std::int64_t first_sample() const;

  model::GptStage& stage() { return *stage_; }
  model::Optimizer& optimizer() { return *optimizer_; }
  Groups& groups() { return groups_; }
  const parallel::Coordinate& at() const { return at_; }
  std::uint64_t matmul_flops() const { return matmul_flops_; }

 private:
  std::vector<double> gather_losses();

  launch::Job job_;
  parallel::Coordinate at_;
  Groups groups_;
  std::uint64_t matmul_flops_ = 0;
  std::unique_ptr<model::GptStage> stage_;
  std::unique_ptr<model::Optimizer> optimizer_;
  parallel::Schedule schedule_;
};

model::LearningRateSchedule learning_rate_schedule(const launch::Job& job);

}  // namespace talaria::worker
