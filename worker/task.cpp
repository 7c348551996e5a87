// SPDX-License-Identifier: Apache-2.0
#include "worker/task.h"

#include "cluster/base/error.h"
#include "worker/ppo/ppo_task.h"
#include "worker/pretrain.h"
#include "worker/reward.h"
#include "worker/sft.h"

namespace talaria::worker {

std::unique_ptr<Task> make_task(const launch::Job& job, bool leads) {
  if (job.job.kind == "pretrain") return std::make_unique<PretrainTask>(job);
  if (job.job.kind == "sft") return std::make_unique<SftTask>(job, leads);
  if (job.job.kind == "reward") return std::make_unique<RewardTask>(job, leads);
  TALARIA_CHECK(job.job.kind == "ppo", "kind {}", job.job.kind);
  return std::make_unique<PpoTask>(job, leads);
}

}  // namespace talaria::worker
