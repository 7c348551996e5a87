// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/exponential.h"

#include <array>

#include "model/cpu/simd.h"

namespace talaria::model::cpu {
namespace {

constexpr std::int64_t kDoubles = 8;
using D8 = double __attribute__((vector_size(64)));
using D8AnyAlignment = double __attribute__((vector_size(64), aligned(8), may_alias));
using I8 = std::int64_t __attribute__((vector_size(64)));
using F8AnyAlignment = float __attribute__((vector_size(32), aligned(4), may_alias));

D8 all(double x) { return D8{x, x, x, x, x, x, x, x}; }

D8 fma(D8 a, D8 b, D8 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#else
  D8 sum;
  for (int i = 0; i < kDoubles; ++i) sum[i] = std::fma(a[i], b[i], c[i]);
  return sum;
#endif
}

// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to r^13, whose rest is below 2^-57.
D8 exp_not_positive(D8 x) {
  const I8 vanishes = x < -700.0;
  x = vanishes ? all(-700.0) : x;
  const D8 shifter = all(0x1.8p52);  // adding it rounds to an integer in the low bits
  const D8 shifted = fma(x, all(1.4426950408889634), shifter);
  const D8 n = shifted - shifter;
  D8 r = fma(n, all(-0x1.62e42fefa3800p-1), x);
  r = fma(n, all(-0x1.ef35793c76730p-45), r);
  constexpr std::array<double, 13> kTerms = {1.0 / 479001600,
                                             1.0 / 39916800,
                                             1.0 / 3628800,
                                             1.0 / 362880,
                                             1.0 / 40320,
                                             1.0 / 5040,
                                             1.0 / 720,
                                             1.0 / 120,
                                             1.0 / 24,
                                             1.0 / 6,
                                             0.5,
                                             1.0,
                                             1.0};
  D8 p = all(1.0 / 6227020800.0);
  for (const double term : kTerms) p = fma(p, r, all(term));
  const I8 bits = reinterpret_cast<I8>(p) + (reinterpret_cast<I8>(shifted) << 52);
  // A NaN went through the polynomial; its exponent must not be touched.
  return vanishes ? D8{} : x == x ? reinterpret_cast<D8>(bits) : x;
}

D8 load_eight(const float* from) {
  return __builtin_convertvector(*reinterpret_cast<const F8AnyAlignment*>(from), D8);
}

double fold(D8 x) {
  const auto at = [&x](int i) { return x[i] + x[i + 4]; };
  return (at(0) + at(2)) + (at(1) + at(3));
}

}  // namespace

float highest(const float* x, std::int64_t count) {
  F16 best = broadcast(-std::numeric_limits<float>::infinity());
  for_lanes(count, [&](std::int64_t i, auto lanes) {
    best = max(best, fill_tail(load(x + i, lanes), -std::numeric_limits<float>::infinity(), lanes));
  });
  return fold_max(best);
}

double exp_weights(const float* x, std::int64_t count, double shift, double factor,
                   double* weights) {
  D8 sum{};
  std::int64_t i = 0;
  for (; i + kDoubles <= count; i += kDoubles) {
    const D8 w = exp_not_positive((load_eight(x + i) - shift) * factor);
    if (weights != nullptr) *reinterpret_cast<D8AnyAlignment*>(weights + i) = w;
    sum += w;
  }
  if (i < count) {
    D8 rest = all(-std::numeric_limits<double>::infinity());
    for (std::int64_t j = i; j < count; ++j) rest[j - i] = (x[j] - shift) * factor;
    const D8 w = exp_not_positive(rest);
    for (std::int64_t j = i; weights != nullptr && j < count; ++j) weights[j] = w[j - i];
    sum += w;
  }
  return fold(sum);
}

}  // namespace talaria::model::cpu
