// SPDX-License-Identifier: Apache-2.0
// A sum of non-negative doubles that no grouping or order can change: each term is cut into 32-bit
// digits that are added as integers. The digits of several sums may be added by an integer
// all-reduce.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace talaria::model {

class ExactSum {
 public:
  // Digit i stands for 2^(32 i - kBias): terms from 2^-320 to 2^288, a f64 sum of squares of f32
  // values with room to spare; what lies below is cut off, term by term. Up to 2^31 terms.
  static constexpr int kDigits = 20;
  static constexpr int kBias = 320;

  // `term` is finite, >= 0 and below 2^288.
  void add(double term) {
    int exponent = 0;
    const double fraction = std::frexp(term, &exponent);  // term = fraction 2^exponent, in [0.5, 1)
    auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
    int position = exponent - 53 + kBias;  // of the mantissa's lowest bit
    if (position < 0) {
      if (position <= -64) return;
      mantissa >>= -position;
      position = 0;
    }
    const int digit = position / 32;
    const auto wide = static_cast<Wide>(mantissa) << (position % 32);
    for (int i = 0; i < 3; ++i) {
      digits_[static_cast<std::size_t>(digit) + static_cast<std::size_t>(i)] +=
          static_cast<std::int64_t>(static_cast<std::uint32_t>(wide >> (32 * i)));
    }
  }

  std::array<std::int64_t, kDigits>& digits() { return digits_; }
  const std::array<std::int64_t, kDigits>& digits() const { return digits_; }

  // The sum, rounded; a pure function of the digits' exact value.
  double value() const {
    std::array<std::int64_t, kDigits> carried = digits_;
    for (int i = 0; i + 1 < kDigits; ++i) {
      carried[static_cast<std::size_t>(i) + 1] += carried[static_cast<std::size_t>(i)] >> 32;
      carried[static_cast<std::size_t>(i)] &= 0xFFFFFFFF;
    }
    double total = 0.0;
    for (int i = kDigits - 1; i >= 0; --i) {
      total +=
          std::ldexp(static_cast<double>(carried[static_cast<std::size_t>(i)]), 32 * i - kBias);
    }
    return total;
  }

 private:
  __extension__ using Wide = unsigned __int128;
  std::array<std::int64_t, kDigits> digits_ = {};
};

}  // namespace talaria::model
