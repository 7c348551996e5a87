// SPDX-License-Identifier: Apache-2.0
#include "worker/frozen_model.h"

#include <malloc.h>

#include "worker/chat_data.h"
#include "worker/forward_pass.h"
#include "worker/start.h"

namespace talaria::worker {

void FrozenModel::open(const TaskResources& resources) {
  resources_.emplace(resources);
  engine_ = std::make_unique<Engine>(job_, resources.rank, resources.groups, resources.pool,
                                     EngineOptions{.head = head_, .frozen = true});
  checkpoint_ = load_start(role_, start_, StartUse::kFrozen, resources, *engine_);
  done();
}

Engine& FrozenModel::use() {
  if (engine_ == nullptr) {
    engine_ = std::make_unique<Engine>(job_, resources_->rank, resources_->groups, resources_->pool,
                                       EngineOptions{.head = head_, .frozen = true});
    read_start(checkpoint_, *engine_);
  }
  return *engine_;
}

void FrozenModel::done() {
  if (!job_.ppo.offload) return;
  engine_.reset();
#ifdef __GLIBC__
  // What was freed below 32 MiB a piece stays the process's else.
  ::malloc_trim(0);
#endif
}

std::vector<double> last_values(FrozenModel& model, const launch::Job& job,
                                const std::vector<Episode>& episodes, std::int32_t pad) {
  const std::int64_t length = job.train.sequence_length;
  const auto numbers = forward_pass(
      model.use(), job, static_cast<std::int64_t>(episodes.size()),
      [&](std::int64_t row, model::Batch& batch) {
        append_row(episode_row(episodes[static_cast<std::size_t>(row)], length, pad), batch);
      },
      {TokenNumber::kValue});
  model.done();
  std::vector<double> values;
  values.reserve(episodes.size());
  for (std::size_t e = 0; e < episodes.size(); ++e) {
    const std::size_t last = episodes[e].prompt.size() + episodes[e].tokens() - 1;
    values.push_back(static_cast<double>(numbers[0][e * static_cast<std::size_t>(length) + last]));
  }
  return values;
}

}  // namespace talaria::worker
