// SPDX-License-Identifier: Apache-2.0
// The score of a response: a reward model's number at its last token, a rule's verdict on its
// words, or both, weighted.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "worker/frozen_model.h"
#include "worker/ppo/rollout.h"
#include "worker/rules.h"
#include "worker/task.h"

namespace talaria::worker {

class Scorer {
 public:
  // Throws UsageError for a rule that is none, and "file:line: ..." for a prompt with whose answer
  // the rule cannot compare.
  Scorer(const launch::Job& job, const Rollout& rollout);

  bool has_model() const { return model_ != nullptr; }
  // Collective over world.
  void open(const TaskResources& resources);

  struct Scores {
    std::vector<double> total;  // an element an episode: weighted, clipped
    std::vector<double> model;  // the reward model's; empty without one
    std::vector<double> rule;   // the rule's; empty without one
  };
  // The same on all ranks. Throws AgreedFailure where a score is no finite number. Collective over
  // world.
  Scores score(const std::vector<Episode>& episodes, bool training, Groups& groups);

 private:
  double combine(const Episode& episode, double model, double rule) const;

  launch::Job job_;
  const Rollout& rollout_;
  std::unique_ptr<FrozenModel> model_;
  std::optional<RuleReward> rule_;
};

}  // namespace talaria::worker
