// SPDX-License-Identifier: Apache-2.0
// The features that the compiler was allowed to use in this folder, as constant data, so that
// reading them runs no instruction of theirs.
#pragma once

namespace talaria::model::cpu {

struct BuiltFeatures {
  bool avx = false;
  bool avx2 = false;
  bool fma = false;
  bool bmi = false;
  bool bmi2 = false;
  bool avx512f = false;
  bool avx512cd = false;
  bool avx512bw = false;
  bool avx512dq = false;
  bool avx512vl = false;
  bool avx512vbmi = false;
  bool avx512vnni = false;
};
extern const BuiltFeatures kBuiltFeatures;

}  // namespace talaria::model::cpu
