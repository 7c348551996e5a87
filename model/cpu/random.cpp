// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/random.h"

#include <array>

namespace talaria::model::cpu {
namespace {

// Eight counters, one word of each in the low half of a 64-bit lane. The high halves hold what
// earlier products left there and are never looked at.
using Wide = std::uint64_t __attribute__((vector_size(64)));
using WideAnyAlignment = std::uint64_t __attribute__((vector_size(64), aligned(4), may_alias));

// Products of the low halves.
Wide multiply(Wide a, std::uint32_t b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a),
                                                       _mm512_set1_epi32(static_cast<int>(b))));
#else
  return (a & 0xFFFFFFFFU) * b;
#endif
}

// Words of 8 counters -> 32 words in element order.
void store_words(const std::array<Wide, 4>& c, std::uint32_t* words) {
  const Wide first = (c[0] & 0xFFFFFFFFU) | (c[1] << 32);
  const Wide second = (c[2] & 0xFFFFFFFFU) | (c[3] << 32);
  *reinterpret_cast<WideAnyAlignment*>(words) =
      __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
  *reinterpret_cast<WideAnyAlignment*>(words + 16) =
      __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
}

// The 64 words of counters block .. block + 15, in element order. Two groups of 8 counters run side
// by side, to fill the multipliers.
void philox_16_blocks(const PhiloxStream& random, std::uint32_t sample, std::uint32_t block,
                      std::uint32_t* words) {
  std::array<std::array<Wide, 4>, 2> groups;
  for (std::size_t g = 0; g < 2; ++g) {
    groups[g] = {Wide{0, 1, 2, 3, 4, 5, 6, 7} + (block + 8 * static_cast<std::uint32_t>(g)),
                 Wide{} + random.stream, Wide{} + sample, Wide{} + random.step};
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(random.seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(random.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::array<Wide, 4>& c : groups) {
      const Wide p0 = multiply(c[0], 0xD2511F53U);
      const Wide p1 = multiply(c[2], 0xCD9E8D57U);
      c = {(p1 >> 32) ^ c[1] ^ k0, p1, (p0 >> 32) ^ c[3] ^ k1, p0};
    }
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  store_words(groups[0], words);
  store_words(groups[1], words + 32);
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
