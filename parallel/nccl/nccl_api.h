// SPDX-License-Identifier: Apache-2.0
// NCCL's functions, found in libnccl.so.2 at run time.
#pragma once

#include <nccl.h>

#include "cluster/base/error.h"
#include "cluster/device/module.h"

namespace talaria::parallel {

struct NcclApi {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&ncclCommDestroy) comm_destroy = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclCommGetAsyncError) comm_get_async_error = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;

  // The failure says that NCCL is missing, or which function it lacks.
  static Result<NcclApi> load();

  // Throws Error "ncclAllReduce: unhandled cuda error (NCCL error 1)" unless rc is ncclSuccess.
  void check(ncclResult_t rc, const char* call) const;
};

}  // namespace talaria::parallel
