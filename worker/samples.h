// SPDX-License-Identifier: Apache-2.0
// Which tokens a data rank feeds to a step or to an evaluation.
#pragma once

#include <cstdint>

#include "launch/job.h"
#include "model/batch.h"
#include "storage/text/dataset.h"

namespace talaria::worker {

// The data set that a job names, with the byte length of every token known.
storage::Dataset open_dataset(const launch::Job& job);

// The samples_per_rank() samples of step `step` for the data rank whose first sample is `first` of
// the global batch: global sample step * global_batch + i.
model::Batch training_batch(const storage::Dataset& data, const launch::Job& job, std::int64_t step,
                            std::int64_t first);

// An evaluation: `samples` real ones, each data rank feeding `per_rank`; what lies behind the real
// ones repeats the first and is not counted.
struct EvaluationPlan {
  std::int64_t samples = 0;
  std::int64_t per_rank = 0;
};
EvaluationPlan plan_evaluation(const storage::Dataset& data, const launch::Job& job);
model::Batch evaluation_batch(const storage::Dataset& data, const launch::Job& job,
                              const EvaluationPlan& plan, int data_rank);

}  // namespace talaria::worker
