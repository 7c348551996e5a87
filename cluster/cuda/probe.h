// SPDX-License-Identifier: Apache-2.0
// The kernel of Device::probe.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace talaria::cuda {

// words[i] = probe_word(i) for i in [0, count). Ordered on the stream.
void launch_probe(std::uint32_t* words, std::int64_t count, cudaStream_t stream);

#ifdef __CUDACC__
__host__ __device__
#endif
    constexpr std::uint32_t
    probe_word(std::int64_t index) {
  auto word = static_cast<std::uint32_t>(index) * 2654435761U;
  return word ^ (word >> 15U);
}

}  // namespace talaria::cuda
