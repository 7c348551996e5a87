// SPDX-License-Identifier: Apache-2.0
// A seeded permutation of 0 .. n-1 that needs no table: a Feistel network over Z_a x Z_b with a*b
// just above n, walked along its cycle until the image lies below n (Black and Rogaway, "Ciphers
// with arbitrary finite domains", CT-RSA 2002, method 3).
#pragma once

#include <cmath>
#include <cstdint>

#include "cluster/base/error.h"

namespace talaria::storage {

// SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014): a bijection that mixes well.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// A hash of two numbers, for deriving keys: mix_keys(mix_keys(seed, source), epoch).
constexpr std::uint64_t mix_keys(std::uint64_t a, std::uint64_t b) { return mix64(mix64(a) ^ b); }

class Permutation {
 public:
  // 1 <= n <= 2^62
  Permutation(std::int64_t n, std::uint64_t key) : n_(static_cast<std::uint64_t>(n)), key_(key) {
    TALARIA_CHECK(n >= 1 && n <= std::int64_t{1} << 62, "n = {}", n);
    a_ = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(n)));
    while (a_ * a_ < n_) ++a_;
    b_ = (n_ + a_ - 1) / a_;
  }

  // 0 <= i < n
  std::int64_t operator()(std::int64_t i) const {
    auto x = static_cast<std::uint64_t>(i);
    do {
      x = step(x);
    } while (x >= n_);
    return static_cast<std::int64_t>(x);
  }

 private:
  static constexpr std::uint64_t kRounds = 8;

  std::uint64_t step(std::uint64_t x) const {
    std::uint64_t left = x / b_;   // below a
    std::uint64_t right = x % b_;  // below b
    for (std::uint64_t round = 0; round < kRounds; round += 2) {
      left = (left + mix64((key_ + round) ^ mix64(right)) % a_) % a_;
      right = (right + mix64((key_ + round + 1) ^ mix64(left)) % b_) % b_;
    }
    return left * b_ + right;
  }

  std::uint64_t n_;
  std::uint64_t key_;
  std::uint64_t a_;
  std::uint64_t b_;
};

}  // namespace talaria::storage
