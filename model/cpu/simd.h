// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes of f32, whatever the machine's vector width: on AVX-512 one register, elsewhere a
// pair of them. Every operation is lane-wise IEEE with explicit FMA and every fold has one fixed
// tree, so the bits do not depend on the width. Tails use the same formulas on masked loads and
// stores.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__FMA__)
#include <immintrin.h>
#endif

#if !defined(__AVX512F__)
#include "model/cpu/lane_pair.h"
#endif

namespace talaria::model::cpu {

inline constexpr std::int64_t kLanes = 16;

#if defined(__AVX512F__)
using F16 = float __attribute__((vector_size(64)));
using I16 = std::int32_t __attribute__((vector_size(64)));
using U16 = std::uint32_t __attribute__((vector_size(64)));
using D8 = double __attribute__((vector_size(64)));
using I8 = std::int64_t __attribute__((vector_size(64)));
// GCC 12 raises false maybe-uninitialized alarms in the intrinsics without a mask.
inline constexpr __mmask16 kAllLanes = 0xFFFF;

using F16AnyAlignment = float __attribute__((vector_size(64), aligned(4), may_alias));
using U16AnyAlignment = std::uint32_t __attribute__((vector_size(64), aligned(4), may_alias));
using D8AnyAlignment = double __attribute__((vector_size(64), aligned(8), may_alias));
using F8AnyAlignment = float __attribute__((vector_size(32), aligned(4), may_alias));

inline F16 select(I16 mask, F16 a, F16 b) { return mask ? a : b; }
inline D8 select(I8 mask, D8 a, D8 b) { return mask ? a : b; }
#else
using F16 = LanePair<float>;
using I16 = LanePair<std::int32_t>;
using U16 = LanePair<std::uint32_t>;
using D8 = LanePair<double>;
using I8 = LanePair<std::int64_t>;
#endif
// How many lanes a step of a loop covers: all, or the first `count` of the tail.
struct FullLanes {};
struct PartLanes {
  int count;
};

// Calls step(index, lanes) for 0, 16, 32, ..., the tail last.
template <class Step>
inline void for_lanes(std::int64_t count, const Step& step) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) step(i, FullLanes{});
  if (i < count) step(i, PartLanes{static_cast<int>(count - i)});
}

inline F16 broadcast(float x) {
#if defined(__AVX512F__)
  return F16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#else
  return F16::all(x);
#endif
}

#if defined(__AVX512F__)
inline F16 load(const float* from, FullLanes) {
  return *reinterpret_cast<const F16AnyAlignment*>(from);
}
inline void store(float* to, F16 x, FullLanes) { *reinterpret_cast<F16AnyAlignment*>(to) = x; }
inline U16 load(const std::uint32_t* from, FullLanes) {
  return *reinterpret_cast<const U16AnyAlignment*>(from);
}
inline void store(std::uint32_t* to, U16 x, FullLanes) {
  *reinterpret_cast<U16AnyAlignment*>(to) = x;
}
inline D8 load(const double* from) { return *reinterpret_cast<const D8AnyAlignment*>(from); }
inline void store(double* to, D8 x) { *reinterpret_cast<D8AnyAlignment*>(to) = x; }
inline D8 load_eight(const float* from) {
  return __builtin_convertvector(*reinterpret_cast<const F8AnyAlignment*>(from), D8);
}
#else
inline F16 load(const float* from, FullLanes) { return F16::load(from); }
inline void store(float* to, F16 x, FullLanes) { x.store(to); }
inline U16 load(const std::uint32_t* from, FullLanes) { return U16::load(from); }
inline void store(std::uint32_t* to, U16 x, FullLanes) { x.store(to); }
inline D8 load(const double* from) { return D8::load(from); }
inline void store(double* to, D8 x) { x.store(to); }
inline D8 load_eight(const float* from) {
  using F4 = float __attribute__((vector_size(16), aligned(4), may_alias));
  return {__builtin_convertvector(*reinterpret_cast<const F4*>(from), D8::Half),
          __builtin_convertvector(*reinterpret_cast<const F4*>(from + 4), D8::Half)};
}
#endif

// Lanes beyond the tail read as 0 and are not written.
inline F16 load(const float* from, PartLanes lanes) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << lanes.count) - 1U), from);
#else
  F16 x{};
  std::memcpy(&x, from, static_cast<std::size_t>(lanes.count) * sizeof(float));
  return x;
#endif
}
inline void store(float* to, F16 x, PartLanes lanes) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1U << lanes.count) - 1U), x);
#else
  std::memcpy(to, &x, static_cast<std::size_t>(lanes.count) * sizeof(float));
#endif
}
inline U16 load(const std::uint32_t* from, PartLanes lanes) {
  U16 x{};
  std::memcpy(&x, from, static_cast<std::size_t>(lanes.count) * sizeof(std::uint32_t));
  return x;
}

// Replaces the lanes beyond the tail.
inline F16 fill_tail(F16 x, float, FullLanes) { return x; }
inline F16 fill_tail(F16 x, float with, PartLanes lanes) {
#if defined(__AVX512F__)
  constexpr I16 kIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#else
  constexpr I16 kIndex = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
#endif
  return select(kIndex < lanes.count, x, broadcast(with));
}

// a b + c, rounded once.
inline F16 fma(F16 a, F16 b, F16 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
#else
  for (int i = 0; i < F16::kHalf; ++i) {
    c.low[i] = std::fma(a.low[i], b.low[i], c.low[i]);
    c.high[i] = std::fma(a.high[i], b.high[i], c.high[i]);
  }
  return c;
#endif
}

inline F16 max(F16 a, F16 b) { return select(a > b, a, b); }

inline F16 sqrt(F16 x) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(kAllLanes, x);
#elif defined(__FMA__)
  return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)};
#else
  for (int i = 0; i < F16::kHalf; ++i) {
    x.low[i] = std::sqrt(x.low[i]);
    x.high[i] = std::sqrt(x.high[i]);
  }
  return x;
#endif
}

// Lane i meets lane i + 8, then i + 4, i + 2, i + 1.
inline float fold_sum(F16 x) {
#if defined(__AVX512F__)
  x += __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  x += __builtin_shufflevector(x, x, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  return x[0];
#else
  F16::Half y = x.low + x.high;
  y += __builtin_shufflevector(y, y, 4, 5, 6, 7, 0, 1, 2, 3);
  y += __builtin_shufflevector(y, y, 2, 3, 0, 1, 2, 3, 0, 1);
  y += __builtin_shufflevector(y, y, 1, 0, 1, 0, 1, 0, 1, 0);
  return y[0];
#endif
}
inline float fold_max(F16 x) {
  float best = x[0];
  for (int i = 1; i < kLanes; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

// e^x to 1 ulp; inf from 88.73 on, NaN stays NaN. 0 where the result would be subnormal (x below
// -87.33): such results and all arithmetic on them cost hundreds of cycles.
// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by the polynomial of Cephes' expf.
inline F16 exp(F16 x) {
  const I16 vanishes = x < -87.3365F;
  x = select(x > 89.0F, broadcast(89.0F), x);
  const F16 shifter = broadcast(12582912.0F);  // 1.5 x 2^23: adding it rounds to an integer
  const F16 n = fma(x, broadcast(1.44269504088896341F), shifter) - shifter;
  F16 r = fma(n, broadcast(-0.693359375F), x);
  r = fma(n, broadcast(2.12194440e-4F), r);
  F16 p = broadcast(1.9875691500e-4F);
  p = fma(p, r, broadcast(1.3981999507e-3F));
  p = fma(p, r, broadcast(8.3334519073e-3F));
  p = fma(p, r, broadcast(4.1665795894e-2F));
  p = fma(p, r, broadcast(1.6666665459e-1F));
  p = fma(p, r, broadcast(5.0000001201e-1F));
  const F16 y = fma(p, r * r, r) + 1.0F;
#if defined(__AVX512F__)
  const F16 scaled = _mm512_maskz_scalef_ps(kAllLanes, y, n);
#else
  // Two factors, since 2^128 alone is too large.
  const I16 exponent = {__builtin_convertvector(n.low, I16::Half),
                        __builtin_convertvector(n.high, I16::Half)};
  const I16 half = exponent >> 1;
  const F16 scaled =
      y * bits_as<float>((half + 127) << 23) * bits_as<float>((exponent - half + 127) << 23);
#endif
  return select(vanishes, F16{}, scaled);
}
inline float exp_one(float x) { return exp(broadcast(x))[0]; }

}  // namespace talaria::model::cpu
