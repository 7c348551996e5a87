// SPDX-License-Identifier: Apache-2.0
// CUDA's handles with one owner each, and the one place where its return codes are checked.
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include "cluster/base/handle.h"

namespace talaria::cuda {

// Throws Error "cudaMalloc: 8 bytes: out of memory (CUDA error 2)" unless rc is cudaSuccess.
void check_cuda(cudaError_t rc, const char* call, const std::string& subject = "");

struct StreamTraits {
  using Handle = cudaStream_t;
  static Handle empty() { return nullptr; }
  static void close(Handle stream) noexcept;
};
using UniqueStream = UniqueHandle<StreamTraits>;

struct MemoryTraits {
  using Handle = void*;
  static Handle empty() { return nullptr; }
  static void close(Handle memory) noexcept;
};
using UniqueMemory = UniqueHandle<MemoryTraits>;

// On the current device. A non-blocking stream; memory of 0 bytes is null.
UniqueStream make_stream();
UniqueMemory allocate_memory(std::int64_t bytes);

}  // namespace talaria::cuda
