// SPDX-License-Identifier: Apache-2.0
// The score of a response: a reward model's number at its last token, a rule's verdict on its
// words, or both, weighted.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "worker/forward_pass.h"
#include "worker/ppo/rollout.h"
#include "worker/rules.h"
#include "worker/task.h"

namespace talaria::worker {

// A model that only evaluates; with `offload` its memory is given back between uses and its weights
// are read anew.
class FrozenModel {
 public:
  // `start` is the value of the key start.<role>.
  FrozenModel(const launch::Job& job, std::string role, std::string start, model::HeadKind head)
      : job_(job), role_(std::move(role)), start_(std::move(start)), head_(head) {}

  // Finds the weights, says so, and reads them. Collective over world.
  void open(const TaskResources& resources);
  // Ready to evaluate. Collective over world.
  Engine& use();
  // The caller needs it no longer in this iteration.
  void done();

 private:
  launch::Job job_;
  std::string role_;
  std::string start_;
  model::HeadKind head_;
  std::optional<TaskResources> resources_;
  std::filesystem::path checkpoint_;
  std::unique_ptr<Engine> engine_;
};

class Scorer {
 public:
  // Throws UsageError for a rule that is none, and where a rule needs answers that the prompts
  // lack.
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
  std::vector<double> ask_model(const std::vector<Episode>& episodes);
  double combine(const Episode& episode, double model, double rule) const;

  launch::Job job_;
  const Rollout& rollout_;
  std::unique_ptr<FrozenModel> model_;
  std::optional<RuleReward> rule_;
};

}  // namespace talaria::worker
