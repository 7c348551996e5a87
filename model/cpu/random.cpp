// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/random.h"

namespace talaria::model::cpu {
namespace {

struct WideProduct {
  U16 high;
  U16 low;
};

WideProduct multiply(U16 a, std::uint32_t b) {
#if defined(__AVX512F__)
  constexpr __mmask8 kAll = 0xFF;
  constexpr __mmask16 kOdd = 0xAAAA;
  const __m512i x = reinterpret_cast<__m512i>(a);
  const __m512i factor = _mm512_set1_epi32(static_cast<int>(b));
  const __m512i even = _mm512_maskz_mul_epu32(kAll, x, factor);
  const __m512i odd = _mm512_maskz_mul_epu32(kAll, _mm512_maskz_srli_epi64(kAll, x, 32), factor);
  const __m512i high = _mm512_mask_blend_epi32(kOdd, _mm512_maskz_srli_epi64(kAll, even, 32), odd);
  const __m512i low = _mm512_mask_blend_epi32(kOdd, even, _mm512_maskz_slli_epi64(kAll, odd, 32));
  return {reinterpret_cast<U16>(high), reinterpret_cast<U16>(low)};
#else
  WideProduct product;
  for (int i = 0; i < kLanes; ++i) {
    const std::uint64_t wide = std::uint64_t{a[i]} * b;
    product.high[i] = static_cast<std::uint32_t>(wide >> 32);
    product.low[i] = static_cast<std::uint32_t>(wide);
  }
  return product;
#endif
}

U16 interleave_low(U16 a, U16 b) {
  return __builtin_shuffle(a, b, U16{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
}
U16 interleave_high(U16 a, U16 b) {
  return __builtin_shuffle(a, b, U16{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
}

// The 64 words of counters block .. block + 15, in element order.
void philox_16_blocks(const PhiloxStream& random, std::uint32_t sample, std::uint32_t block,
                      std::uint32_t* words) {
  U16 c0 = U16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + block;
  U16 c1 = U16{} + random.stream;
  U16 c2 = U16{} + sample;
  U16 c3 = U16{} + random.step;
  std::uint32_t k0 = static_cast<std::uint32_t>(random.seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(random.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const WideProduct p0 = multiply(c0, 0xD2511F53U);
    const WideProduct p1 = multiply(c2, 0xCD9E8D57U);
    c0 = p1.high ^ c1 ^ k0;
    c1 = p1.low;
    c2 = p0.high ^ c3 ^ k1;
    c3 = p0.low;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  const U16 even_low = interleave_low(c0, c2);
  const U16 odd_low = interleave_low(c1, c3);
  const U16 even_high = interleave_high(c0, c2);
  const U16 odd_high = interleave_high(c1, c3);
  store(words, interleave_low(even_low, odd_low), FullLanes{});
  store(words + 16, interleave_high(even_low, odd_low), FullLanes{});
  store(words + 32, interleave_low(even_high, odd_high), FullLanes{});
  store(words + 48, interleave_high(even_high, odd_high), FullLanes{});
}

}  // namespace

const std::uint32_t* random_words(const PhiloxStream& random, std::int64_t sample,
                                  std::int64_t first, std::int64_t count, std::uint32_t* scratch) {
  const std::int64_t skip = first % 4;
  for (std::int64_t done = 0; done < skip + count; done += 64) {
    philox_16_blocks(random, static_cast<std::uint32_t>(sample),
                     static_cast<std::uint32_t>((first + done) / 4), scratch + done);
  }
  return scratch + skip;
}

}  // namespace talaria::model::cpu
