// SPDX-License-Identifier: Apache-2.0
#include "cluster/cuda/handles.h"

#include "cluster/base/error.h"

namespace talaria::cuda {

void check_cuda(cudaError_t rc, const char* call, const std::string& subject) {
  if (rc == cudaSuccess) return;
  fail("{}: {}{}{} (CUDA error {})", call, subject, subject.empty() ? "" : ": ",
       cudaGetErrorString(rc), static_cast<int>(rc));
}

// Nothing can be done about a failure while closing; a broken device shows at the next call.
void StreamTraits::close(Handle stream) noexcept { cudaStreamDestroy(stream); }
void MemoryTraits::close(Handle memory) noexcept { cudaFree(memory); }

UniqueStream make_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
  return UniqueStream(stream);
}

UniqueMemory allocate_memory(std::int64_t bytes) {
  if (bytes < 0) fail("cudaMalloc: {} bytes", bytes);
  if (bytes == 0) return UniqueMemory();
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, static_cast<std::size_t>(bytes)), "cudaMalloc",
             fmt::format("{} bytes", bytes));
  return UniqueMemory(memory);
}

}  // namespace talaria::cuda
