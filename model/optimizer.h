// SPDX-License-Identifier: Apache-2.0
// From a rank's gradients to new weights: data-parallel reduction, the tied embedding's two
// gradients, the global norm, AdamW on the rows this rank owns (ZeRO-1) or on all, and the weights
// gathered back.
#pragma once

#include <cstdint>
#include <vector>

#include "model/exact_sum.h"
#include "model/gpt_stage.h"
#include "parallel/zero.h"

namespace talaria::model {

struct OptimizerConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // global norm; 0: off
};

// A rank's part of the squared global norm.
struct NormPart {
  ExactSum sum_of_squares;
  bool finite = true;
};

class Optimizer {
 public:
  // `data` and `pipeline` are this rank's groups; all references must outlive the optimizer.
  Optimizer(GptStage& stage, parallel::Communicator& data, parallel::Communicator& pipeline,
            const OptimizerConfig& config, bool zero);

  // Sums gradients over the data ranks and adds the tied embedding's two. Collective over data and,
  // on the first and last stage, between them.
  void reduce_gradients();
  // Of the elements this rank answers for: every element of the model is counted by one rank.
  NormPart norm_part() const;
  // One AdamW update with the given learning rate and global norm, then the weights are gathered.
  // Collective over data.
  void apply(double learning_rate, double global_norm);

  // Updates applied so far: AdamW's bias correction counts these, not skipped steps.
  std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }

  // What this rank writes into a checkpoint (its rows of what it answers for), and what it must
  // read to continue: whole local weights, and the moments it updates. Views into live memory.
  std::vector<parallel::NamedBox> owned_weights();
  std::vector<parallel::NamedBox> owned_moments(int which);  // 0: m, 1: v
  std::vector<parallel::NamedBox> needed_weights();
  std::vector<parallel::NamedBox> needed_moments(int which);

  std::int64_t moment_bytes() const;
  // Payload bytes that one reduce_gradients and apply send over `data` from this rank.
  std::int64_t data_bytes_per_step() const;

 private:
  // A piece that this rank updates, and where its moments lie.
  struct Update {
    parallel::Piece piece;
    std::int64_t state = 0;
  };
  void exchange_tied();
  bool is_tokens(const parallel::Piece& piece) const;
  parallel::NamedBox named(const parallel::Piece& piece, float* data) const;
  void reduce(float* flat, parallel::ShardExchange& exchange, std::int64_t count);

  GptStage& stage_;
  parallel::Communicator& data_;
  parallel::Communicator& pipeline_;
  OptimizerConfig config_;
  bool zero_;
  parallel::ShardExchange exchange_;
  // tok_embed alone, for a head gradient that is kept apart.
  parallel::ShardExchange tokens_exchange_;
  std::vector<Update> updates_list_;
  HostBuffer<float> m_;
  HostBuffer<float> v_;
  std::int64_t updates_ = 0;
};

}  // namespace talaria::model
