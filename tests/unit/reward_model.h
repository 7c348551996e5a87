// SPDX-License-Identifier: Apache-2.0
// A reward model on disk that no training made.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "worker/checkpointing.h"
#include "worker/engine.h"

namespace talaria::worker::test {

// Saves a reward model of the job's shape under `root` whose every number is `bias`, or, without
// one, that of its first weights. Returns what start.reward takes.
inline std::string save_reward_model(const launch::Job& job, Groups& groups, ThreadPool& pool,
                                     const std::filesystem::path& root,
                                     std::optional<float> bias = std::nullopt) {
  Engine engine(job, 0, groups, pool, {.head = model::HeadKind::kScalar});
  for (parallel::NamedBox& box : engine.stage().parameters().weight_boxes()) {
    if (bias && box.tensor == "value_head.bias") *box.data = *bias;
    if (bias && box.tensor == "value_head.weight") std::fill_n(box.data, job.model.hidden, 0.0F);
  }
  TrainingState state;
  const model::GptConfig& shape = job.model;
  state.job_toml = fmt::format(
      "[job]\nname = \"rm\"\n[model]\nlayers = {}\nhidden = {}\nheads = {}\nffn = {}\ncontext = "
      "{}\nvocab = {}\n[data]\nsources = [{{ path = \"x\" }}]\n[train]\nsteps = 1\n",
      shape.layers, shape.hidden, shape.heads, shape.ffn, shape.context, shape.vocab);
  return save_weights({"param", engine.stage().parameters().weight_boxes()}, job, state, root)
      .string();
}

}  // namespace talaria::worker::test
