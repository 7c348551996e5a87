// SPDX-License-Identifier: Apache-2.0
// Compiled without the folder's -march: it must run where the kernels cannot.
#include "model/cpu/isa.h"

#include <dnnl.hpp>
#include <fmt/core.h>

#include "model/cpu/isa_built.h"

namespace talaria::model::cpu {

std::string cpu_kernels_missing_feature() {
  __builtin_cpu_init();
  const BuiltFeatures& built = kBuiltFeatures;
  if (built.avx && !__builtin_cpu_supports("avx")) return "avx";
  if (built.avx2 && !__builtin_cpu_supports("avx2")) return "avx2";
  if (built.fma && !__builtin_cpu_supports("fma")) return "fma";
  if (built.bmi && !__builtin_cpu_supports("bmi")) return "bmi";
  if (built.bmi2 && !__builtin_cpu_supports("bmi2")) return "bmi2";
  if (built.avx512f && !__builtin_cpu_supports("avx512f")) return "avx512f";
  if (built.avx512cd && !__builtin_cpu_supports("avx512cd")) return "avx512cd";
  if (built.avx512bw && !__builtin_cpu_supports("avx512bw")) return "avx512bw";
  if (built.avx512dq && !__builtin_cpu_supports("avx512dq")) return "avx512dq";
  if (built.avx512vl && !__builtin_cpu_supports("avx512vl")) return "avx512vl";
  if (built.avx512vbmi && !__builtin_cpu_supports("avx512vbmi")) return "avx512vbmi";
  if (built.avx512vnni && !__builtin_cpu_supports("avx512vnni")) return "avx512vnni";
  return "";
}

std::string cpu_kernels_isa() {
  std::string name = "sse2";
  if (kBuiltFeatures.avx2) name = "avx2";
  if (kBuiltFeatures.avx512f) name = "avx512f";
  if (kBuiltFeatures.fma) name += "+fma";
  return name;
}

std::string onednn_version() {
  const dnnl_version_t& version = *dnnl_version();
  return fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
}

}  // namespace talaria::model::cpu
