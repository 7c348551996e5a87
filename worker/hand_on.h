// SPDX-License-Identifier: Apache-2.0
// The end of a run: which of its checkpoints it hands on, and what is said of it
// (launch/artifact.h).
#pragma once

#include "worker/checkpointing.h"
#include "worker/run_directory.h"

namespace talaria::worker {

// Writes the run's artifact.json: of the best checkpoint where checkpoint.select says so and one
// was evaluated, else of the last. Its metrics are those of its step in metrics.jsonl. Rank 0,
// behind the last save. Throws Error where that checkpoint is not there.
void hand_on(const RunDirectory& run, const launch::Job& job, const TrainingState& state);

// Whether the run has an artifact.json that is whole, of the checkpoint that hand_on would name.
bool has_handed_on(const RunDirectory& run, const launch::Job& job, const TrainingState& state);

}  // namespace talaria::worker
