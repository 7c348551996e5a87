// SPDX-License-Identifier: Apache-2.0
// Which rows of a step a data rank feeds, and in which order. A step has global_batch main rows
// and mix.rows rows of pretraining text; every sample group has the same share of both, the main
// rows first, so that the rows of a group are the same in every layout. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/job.h"

namespace talaria::worker {

struct RowPlace {
  bool mix = false;
  std::int64_t index = 0;  // among the step's main rows, or among its rows of the mix
};

// The samples_per_rank() rows of data rank `data_rank`, in order.
std::vector<RowPlace> rows_of_rank(const launch::Job& job, int data_rank);

// The places of all step_rows() rows of a step in the order of the global batch.
std::vector<RowPlace> rows_of_step(const launch::Job& job);

}  // namespace talaria::worker
