// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/isa_built.h"

namespace talaria::model::cpu {

// Compiled with this folder's -march.
constinit const BuiltFeatures kBuiltFeatures = {
#if defined(__AVX__)
    .avx = true,
#endif
#if defined(__AVX2__)
    .avx2 = true,
#endif
#if defined(__FMA__)
    .fma = true,
#endif
#if defined(__BMI__)
    .bmi = true,
#endif
#if defined(__BMI2__)
    .bmi2 = true,
#endif
#if defined(__AVX512F__)
    .avx512f = true,
#endif
#if defined(__AVX512CD__)
    .avx512cd = true,
#endif
#if defined(__AVX512BW__)
    .avx512bw = true,
#endif
#if defined(__AVX512DQ__)
    .avx512dq = true,
#endif
#if defined(__AVX512VL__)
    .avx512vl = true,
#endif
#if defined(__AVX512VBMI__)
    .avx512vbmi = true,
#endif
#if defined(__AVX512VNNI__)
    .avx512vnni = true,
#endif
};

}  // namespace talaria::model::cpu
