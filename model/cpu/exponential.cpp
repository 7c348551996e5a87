// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/exponential.h"

#include <array>

#include "model/cpu/simd.h"

namespace talaria::model::cpu {
namespace {

constexpr std::int64_t kDoubles = 8;
D8 all(double x) {
#if defined(__AVX512F__)
  return D8{x, x, x, x, x, x, x, x};
#else
  return D8::all(x);
#endif
}

D8 fma(D8 a, D8 b, D8 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
#else
  for (int i = 0; i < D8::kHalf; ++i) {
    c.low[i] = std::fma(a.low[i], b.low[i], c.low[i]);
    c.high[i] = std::fma(a.high[i], b.high[i], c.high[i]);
  }
  return c;
#endif
}

// p 2^n, n in the low bits of `shifted`.
D8 scale(D8 p, D8 shifted) {
#if defined(__AVX512F__)
  return reinterpret_cast<D8>(reinterpret_cast<I8>(p) + (reinterpret_cast<I8>(shifted) << 52));
#else
  return bits_as<double>(bits_as<std::int64_t>(p) + (bits_as<std::int64_t>(shifted) << 52));
#endif
}

// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to r^13, whose rest is below 2^-57.
D8 exp_not_positive(D8 x) {
  const I8 vanishes = x < -700.0;
  x = select(vanishes, all(-700.0), x);
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
  // A NaN went through the polynomial; its exponent must not be touched.
  return select(vanishes, D8{}, select(x == x, scale(p, shifted), x));
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
    if (weights != nullptr) store(weights + i, w);
    sum += w;
  }
  if (i < count) {
    std::array<double, kDoubles> rest;
    rest.fill(-std::numeric_limits<double>::infinity());
    for (std::int64_t j = i; j < count; ++j) {
      rest[static_cast<std::size_t>(j - i)] = (x[j] - shift) * factor;
    }
    const D8 w = exp_not_positive(load(rest.data()));
    for (std::int64_t j = i; weights != nullptr && j < count; ++j) weights[j] = w[j - i];
    sum += w;
  }
  return fold(sum);
}

}  // namespace talaria::model::cpu
