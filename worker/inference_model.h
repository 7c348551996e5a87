// SPDX-License-Identifier: Apache-2.0
// A checkpoint's model made ready to generate or to score, on one process or spread over the ranks
// of mpirun: weights without gradients, the tokenizer, the groups.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "launch/job.h"
#include "model/generator.h"
#include "parallel/comm/process.h"
#include "storage/checkpoint/reader.h"
#include "storage/text/tokenizer.h"
#include "worker/engine.h"
#include "worker/forward_pass.h"

namespace talaria::worker {

struct InferenceOptions {
  // One of the two: a run (resolve_start() says which of its checkpoints), or a checkpoint; or
  // either of both in `checkpoint`.
  std::filesystem::path run_directory;
  std::filesystem::path checkpoint;
  model::HeadKind head = model::HeadKind::kLanguageModel;  // a checkpoint with another is refused
  std::filesystem::path tokenizer;  // empty: the job file's; it must be what was trained with
  parallel::Layout layout;          // data is 1
  int threads = 0;                  // of this rank; 0: its share of the node's cores
};

class InferenceModel {
 public:
  // `process`: this rank's, or nullptr for one rank without MPI. On failure the complaint is logged
  // once, `exit_code` is set on all ranks and nullptr returned. Collective over all ranks.
  static std::unique_ptr<InferenceModel> open(parallel::Process* process,
                                              const InferenceOptions& options, int& exit_code);

  // The checkpoint's job, as this model is laid out: one data rank, micro-batches of 1.
  const launch::Job& job() const { return job_; }
  const std::filesystem::path& checkpoint() const { return checkpoint_; }
  // Tokens that a row of a forward pass may hold: train.sequence_length.
  std::int64_t row_length() const { return job_.train.sequence_length; }
  const storage::Tokenizer& tokenizer() const { return *tokenizer_; }
  model::GptStage& stage() { return *stage_; }
  Groups& groups() { return groups_; }
  bool leads() const { return groups_.world->rank() == 0; }

  // With room for whole contexts. Of a language model.
  model::Generator make_generator(std::int64_t slots);
  // A number of every token of rows of row_length() tokens, [rows, T], the same on all ranks; no
  // dropout. kValue of a scalar head, else the others. Collective over world.
  std::vector<float> token_numbers(const model::Batch& batch, TokenNumber wanted);

 private:
  InferenceModel() = default;
  void choose_checkpoint(const InferenceOptions& options);
  void read_description(const InferenceOptions& options);
  void make_groups(parallel::Process* process);
  void check_head(const storage::CheckpointReader& reader) const;
  void read_weights();

  std::filesystem::path checkpoint_;
  launch::Job job_;
  model::HeadKind head_ = model::HeadKind::kLanguageModel;
  std::optional<storage::Tokenizer> tokenizer_;
  std::unique_ptr<ThreadPool> pool_;
  Groups groups_;  // data is not made
  std::unique_ptr<model::GptStage> stage_;
};

}  // namespace talaria::worker
