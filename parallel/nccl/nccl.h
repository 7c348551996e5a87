// SPDX-License-Identifier: Apache-2.0
// NCCL groups, as the program sees them: libtalaria_cuda.so implements this, and itself opens NCCL
// only when it is asked, so that a machine without NCCL can still use its GPU.
#pragma once

#include <memory>

#include "cluster/base/error.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

class NcclModule {
 public:
  // NCCL's version code (22809 is 2.28.9), or the sentence that says why there is none.
  virtual Result<int> version() = 0;

  // The same group as `host`, whose collectives run over NCCL on `device`, one device a rank.
  // Collective over the group. Host spans are staged through device memory. Sums are in NCCL's own
  // order, which differs from the tree of the other transports for more than two ranks: it suits
  // numerics "fast" only. Integer sums are exact. Messages and barriers go over `host`: NCCL's
  // sends wait for their receiver, which the contract of send() forbids. Throws Error.
  virtual std::unique_ptr<Communicator> make_communicator(std::unique_ptr<Communicator> host,
                                                          int device) = 0;

 protected:
  ~NcclModule() = default;  // lives as long as the module
};

// The module's entry point for it, absent where it was built without NCCL's header.
inline constexpr const char* kNcclEntry = "talaria_cuda_nccl_v1";
using NcclEntry = NcclModule* (*)();

}  // namespace talaria::parallel
