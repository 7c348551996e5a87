// SPDX-License-Identifier: Apache-2.0
// Checkpoints seen from the ranks: who writes what, who commits, and how a run finds its way back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "launch/artifact.h"
#include "launch/job.h"
#include "storage/checkpoint/checkpoint.h"
#include "worker/task.h"

namespace talaria::worker {

// What besides tensors a run needs to continue with the same bits.
struct TrainingState {
  std::int64_t step = 0;     // steps done
  std::int64_t updates = 0;  // of the optimizer; less than step when steps were skipped
  int nonfinite_in_a_row = 0;
  std::int64_t best_step = -1;  // of the saved checkpoint with the best evaluation; -1: none
  double best_loss = 0.0;       // Evaluation::judged() of that evaluation
  std::string task = "{}";      // Task::state()
  std::vector<launch::Origin> origins;  // what the run began with
  std::string data_fingerprint;
  std::string tokenizer;  // fingerprint; empty: not known
  std::string job_toml;
  std::string build;  // of the program that wrote it: build_identity()
};

// Writes step-%08d under `root` with the weights and moments of the task's models, and keeps the
// newest `keep` and the best one. Returns the folder. Collective over world.
std::filesystem::path save_checkpoint(Task& task, parallel::Communicator& world,
                                      const launch::Job& job, const TrainingState& state,
                                      const std::filesystem::path& root, int attempt,
                                      ThreadPool& pool);

// Writes step-%08d under `root` from one process, weights only: `weights` is the group "param",
// every tensor whole. A run cannot continue from it, but may start with its weights. Returns the
// folder; throws UsageError where `root` holds a checkpoint already.
std::filesystem::path save_weights(const storage::BoxGroup& weights, const launch::Job& job,
                                   const TrainingState& state, const std::filesystem::path& root);

struct FoundCheckpoint {
  std::filesystem::path path;
  TrainingState state;
  std::vector<std::string> warnings;  // another instruction set or library build
};

// The newest checkpoint that verifies, or nothing; `skipped` gets a sentence for each damaged one.
// Throws UsageError for one that holds weights only. Rank 0.
std::optional<FoundCheckpoint> find_checkpoint(const std::filesystem::path& root, ThreadPool& pool,
                                               std::vector<std::string>& skipped);

// Reads the state that a manifest of this program carries; throws UsageError where it carries none.
TrainingState read_training_state(const std::filesystem::path& checkpoint);

// Fills weights and moments of the task's models. Every rank reads for itself.
void load_checkpoint(Task& task, const std::filesystem::path& checkpoint,
                     const TrainingState& state);

// "avx512f+fma", "2.6.3": what the promise of equal bits is bound to.
std::string build_identity();

}  // namespace talaria::worker
