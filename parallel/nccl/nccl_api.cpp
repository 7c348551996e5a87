// SPDX-License-Identifier: Apache-2.0
#include "parallel/nccl/nccl_api.h"

namespace talaria::parallel {
namespace {

// Fills `function`; remembers the first name that is missing.
template <class Function>
void find(const Module& library, const char* name, Function& function, const char*& missing) {
  function = library.function<Function>(name);
  if (function == nullptr && missing == nullptr) missing = name;
}

}  // namespace

Result<NcclApi> NcclApi::load() {
  const Result<Module> library = Module::open("libnccl.so.2");
  if (!library) return Result<NcclApi>::failure(library.error());
  NcclApi api;
  const char* missing = nullptr;
  const auto load_one = [&](const char* name, auto& function) {
    find(library.value(), name, function, missing);
  };
  load_one("ncclGetVersion", api.get_version);
  load_one("ncclGetUniqueId", api.get_unique_id);
  load_one("ncclCommInitRank", api.comm_init_rank);
  load_one("ncclCommDestroy", api.comm_destroy);
  load_one("ncclCommAbort", api.comm_abort);
  load_one("ncclCommGetAsyncError", api.comm_get_async_error);
  load_one("ncclGetErrorString", api.get_error_string);
  load_one("ncclAllReduce", api.all_reduce);
  load_one("ncclReduceScatter", api.reduce_scatter);
  load_one("ncclAllGather", api.all_gather);
  load_one("ncclBroadcast", api.broadcast);
  if (missing != nullptr) {
    return Result<NcclApi>::failure(fmt::format("libnccl.so.2 has no {}", missing));
  }
  return api;
}

void NcclApi::check(ncclResult_t rc, const char* call) const {
  if (rc == ncclSuccess) return;
  fail("{}: {} (NCCL error {})", call, get_error_string(rc), static_cast<int>(rc));
}

}  // namespace talaria::parallel
