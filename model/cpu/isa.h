// SPDX-License-Identifier: Apache-2.0
// What the CPU kernels were built for and what this machine offers. Callable on any x86-64.
#pragma once

#include <string>

namespace talaria::model::cpu {

// The first feature that the build needs and this machine lacks, for example "avx512f"; else empty.
std::string cpu_kernels_missing_feature();
// The instruction set of the build, which the bits depend on, for example "avx512f+fma".
std::string cpu_kernels_isa();
// For example "2.6.3".
std::string onednn_version();

}  // namespace talaria::model::cpu
