// SPDX-License-Identifier: Apache-2.0
#include "worker/task.h"

#include "cluster/base/error.h"
#include "worker/pretrain.h"
#include "worker/reward.h"
#include "worker/sft.h"

namespace talaria::worker {

std::unique_ptr<Task> make_task(const launch::Job& job, bool leads) {
  if (job.job.kind == "pretrain") return std::make_unique<PretrainTask>(job);
  if (job.job.kind == "reward") return std::make_unique<RewardTask>(job, leads);
  if (job.job.kind == "sft") return std::make_unique<SftTask>(job, leads);
  fail_usage(
      "job.kind: found \"{}\", which is not available in this version; allowed: "
      "\"pretrain\", \"sft\" or \"reward\"",
      job.job.kind);
}

}  // namespace talaria::worker
