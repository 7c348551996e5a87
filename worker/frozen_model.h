// SPDX-License-Identifier: Apache-2.0
// Models beside the one that is trained, which only evaluate: PPO's reference, a reward model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/episode.h"
#include "worker/task.h"

namespace talaria::worker {

// A model that only evaluates; with ppo.offload its memory is given back between uses and its
// weights are read anew.
class FrozenModel {
 public:
  // `start` is the value of the key start.<role>.
  FrozenModel(const launch::Job& job, std::string role, std::string start, model::HeadKind head)
      : job_(job), role_(std::move(role)), start_(std::move(start)), head_(head) {}

  // Finds the weights, says so, and reads them. Collective over world.
  void open(const TaskResources& resources);
  // Ready to evaluate. Collective over world.
  Engine& use();
  // The caller needs it no longer until the next use().
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

// The number of a model with a scalar head at the last token of each episode, the same on all
// ranks. `pad` fills the rows of train.sequence_length. Ends with done(). Collective over world.
std::vector<double> last_values(FrozenModel& model, const launch::Job& job,
                                const std::vector<Episode>& episodes, std::int32_t pad);

}  // namespace talaria::worker
