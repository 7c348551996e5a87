// SPDX-License-Identifier: Apache-2.0
// A checkpoint's model made ready to generate, on one process or spread over the ranks of mpirun:
// weights without gradients, the tokenizer, the groups.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "cluster/base/thread_pool.h"
#include "launch/job.h"
#include "model/generator.h"
#include "parallel/comm/process.h"
#include "storage/text/tokenizer.h"
#include "worker/engine.h"

namespace talaria::worker {

struct InferenceOptions {
  // One of the two: a run, whose newest checkpoint that verifies is taken, or a checkpoint.
  std::filesystem::path run_directory;
  std::filesystem::path checkpoint;
  std::filesystem::path tokenizer;  // empty: the job file's
  parallel::Layout layout;          // data is 1
  int threads = 0;                  // of this rank; 0: its share of the node's cores
};

class InferenceModel {
 public:
  // `process`: this rank's, or nullptr for one rank without MPI. On failure the complaint is logged
  // once, `exit_code` is set on all ranks and nullptr returned. Collective over all ranks.
  static std::unique_ptr<InferenceModel> open(parallel::Process* process,
                                              const InferenceOptions& options, int& exit_code);

  const launch::Job& job() const { return job_; }
  const storage::Tokenizer& tokenizer() const { return *tokenizer_; }
  model::GptStage& stage() { return *stage_; }
  Groups& groups() { return groups_; }
  bool leads() const { return groups_.world->rank() == 0; }

  // With room for whole contexts.
  model::Generator make_generator(std::int64_t slots);

 private:
  InferenceModel() = default;
  void choose_checkpoint(const InferenceOptions& options);
  void read_description(const InferenceOptions& options);
  void make_groups(parallel::Process* process);
  void read_weights();

  std::filesystem::path checkpoint_;
  launch::Job job_;
  std::optional<storage::Tokenizer> tokenizer_;
  std::unique_ptr<ThreadPool> pool_;
  Groups groups_;  // data is not made
  std::unique_ptr<model::GptStage> stage_;
};

}  // namespace talaria::worker
