// SPDX-License-Identifier: Apache-2.0
#include "cluster/cuda/handles.h"
#include "cluster/cuda/probe.h"

namespace talaria::cuda {
namespace {

__global__ void probe_kernel(std::uint32_t* words, std::int64_t count) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    words[i] = probe_word(i);
  }
}

}  // namespace

void launch_probe(std::uint32_t* words, std::int64_t count, cudaStream_t stream) {
  probe_kernel<<<256, 256, 0, stream>>>(words, count);
  check_cuda(cudaGetLastError(), "probe_kernel");
}

}  // namespace talaria::cuda
