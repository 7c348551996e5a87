// SPDX-License-Identifier: Apache-2.0
// What stands before the first step can be thought of: rank 0 reads the job file, takes the run
// directory, raises the fence and looks for a checkpoint; all ranks then know the same. And
// --check, which judges the same things and starts nothing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "parallel/communicator.h"
#include "worker/checkpointing.h"
#include "worker/reporter.h"
#include "worker/run_directory.h"
#include "worker/trainer.h"

namespace talaria::worker {

struct Preparation {
  launch::Job job;
  std::filesystem::path run_path;
  int attempt = 1;
  bool complete = false;                // all steps are done already
  std::filesystem::path restored_from;  // empty: a fresh start
  // Rank 0 only.
  std::optional<RunDirectory> directory;
  std::optional<FoundCheckpoint> found;
};

// Fills `out`. Returns kExitDone, or the exit code for which a rank has logged its complaint; the
// same on all ranks. The reporter is told when a checkpoint is looked for. Collective over world.
int prepare(parallel::Communicator& world, const TrainOptions& options, Reporter& reporter,
            Preparation& out);

// Throws UsageError when the data is not what the run's checkpoint was trained on.
void check_same_data(const TrainOptions& options, const std::filesystem::path& run_path,
                     const std::string& trained_on, const std::string& now);

// Judges job file, data, and the run directory's newest checkpoint if there is one: whether a start
// would be refused. Reads no checkpoint's tensors, starts no MPI. Logs one line. Returns kExitDone
// or kExitUsage.
int check_job(const TrainOptions& options);

}  // namespace talaria::worker
