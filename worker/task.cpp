// SPDX-License-Identifier: Apache-2.0
#include "worker/task.h"

#include "cluster/base/error.h"
#include "worker/pretrain.h"

namespace talaria::worker {

std::unique_ptr<Task> make_task(const launch::Job& job) {
  if (job.job.kind == "pretrain") return std::make_unique<PretrainTask>(job);
  fail_usage(
      "job.kind: found \"{}\", which is not available in this version; allowed: \"pretrain\"",
      job.job.kind);
}

}  // namespace talaria::worker
