// SPDX-License-Identifier: Apache-2.0
// The features that the compiler was allowed to use in this folder, as constant data, so that
// reading them runs no instruction of theirs.
#pragma once

namespace talaria::model::cpu {

struct BuiltFeatures {
  bool avx, avx2, fma, f16c, bmi, bmi2, avx512f, avx512cd, avx512bw, avx512dq, avx512vl, avx512vbmi,
      avx512vnni;
};
extern const BuiltFeatures kBuiltFeatures;

}  // namespace talaria::model::cpu
