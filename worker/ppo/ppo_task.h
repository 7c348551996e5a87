// SPDX-License-Identifier: Apache-2.0
// Proximal policy optimisation of a language model (Ouyang et al. 2022, arXiv:2203.02155, section
// 3.5; Ziegler et al. 2019, arXiv:1909.08593). A step is an iteration: rollout, scoring, updates of
// policy and value network. Policy, value network, reference and reward model lie on the same
// ranks in the same layout.
#pragma once

#include <memory>
#include <optional>

#include "cluster/device/buffer.h"
#include "storage/text/dataset.h"
#include "worker/forward_pass.h"
#include "worker/ppo/experience.h"
#include "worker/ppo/scorer.h"
#include "worker/row_layout.h"
#include "worker/task.h"

namespace talaria::worker {

class PpoTask final : public Task {
 public:
  PpoTask(const launch::Job& job, bool leads);

  std::string data_fingerprint() const override { return fingerprint_; }
  std::string tokenizer() const override { return tokenizer_.fingerprint(); }
  void build(const TaskResources& resources) override;
  std::vector<TaskModel> models() override;
  std::vector<TaskBuffer> buffers() override;
  void begin() override;
  StepReport step(std::int64_t step, bool stop_requested) override;
  std::optional<Evaluation> evaluate() override;
  std::string state() const override;
  void set_state(const std::string& json) override;
  void check_unchanged() const override;
  std::int64_t step_tokens() const override;
  double step_flops() const override;

 private:
  // Minibatch `first` of an inner epoch's order: its episodes, in order.
  using Minibatch = std::vector<const Experience*>;

  std::vector<Experience> gather_experience(std::vector<Episode> episodes);
  std::vector<std::int64_t> epoch_order(std::int64_t step, std::int64_t epoch) const;
  // All minibatches of all inner epochs; stops early when the policy moved too far.
  void update(std::int64_t step, const std::vector<Experience>& all, bool stop_requested,
              StepReport& report);
  double update_policy(std::int64_t step, std::int64_t update, const Minibatch& episodes,
                       bool stop_requested, UpdateCounter& counter, StepReport& report);
  void update_value(std::int64_t step, const Minibatch& episodes, UpdateCounter& counter,
                    StepReport& report);
  std::vector<std::vector<float>> pass(Engine& engine, const std::vector<Episode>& episodes,
                                       TokenNumber wanted) const;
  // Of the policy and its reference alike, as the sampler's.
  float logit_scale() const { return static_cast<float>(1.0 / job_.ppo.temperature); }
  // Makes it where there is none. It goes away after each use where ppo.offload says so.
  model::Generator& generator();
  void done_generating();
  // The validation prompts' likeliest responses by the weights that the run hands on; absent where
  // no prompt is kept for validation.
  std::optional<Evaluation> answer_samples(std::int64_t step);
  void write_samples(std::int64_t step, const std::vector<Episode>& episodes,
                     const Scorer::Scores& scores) const;

  launch::Job job_;
  storage::Tokenizer tokenizer_;
  Rollout rollout_;
  Scorer scorer_;
  std::optional<storage::Dataset> mix_;
  std::string fingerprint_;

  std::optional<TaskResources> resources_;
  std::unique_ptr<Engine> policy_;
  std::unique_ptr<Engine> value_;
  std::unique_ptr<FrozenModel> reference_;
  std::unique_ptr<model::Generator> generator_;  // empty between uses with ppo.offload
  HostBuffer<float> average_;                    // of the policy's weights; empty without ppo.ema
  double beta_ = 0.0;                            // coefficient of the KL penalty
  std::int64_t steps_done_ = 0;
};

}  // namespace talaria::worker
