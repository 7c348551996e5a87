// SPDX-License-Identifier: Apache-2.0
// Vectors of 64 bytes on a machine whose registers hold 32: two registers side by side. The
// compiler keeps a vector type that no register holds in memory, and every operation on it then
// waits for its own stores; the members of this pair it keeps in registers.
#pragma once

#include <cstdint>
#include <type_traits>

namespace talaria::model::cpu {

template <class Element>
struct LanePair {
  using Half __attribute__((vector_size(32))) = Element;
  using Mask = LanePair<std::conditional_t<sizeof(Element) == 8, std::int64_t, std::int32_t>>;
  static constexpr int kHalf = 32 / sizeof(Element);

  Half low;
  Half high;

  using AnyAlignment __attribute__((vector_size(32), aligned(alignof(Element)), may_alias)) =
      Element;
  static LanePair load(const Element* from) {
    return {*reinterpret_cast<const AnyAlignment*>(from),
            *reinterpret_cast<const AnyAlignment*>(from + kHalf)};
  }
  void store(Element* to) const {
    *reinterpret_cast<AnyAlignment*>(to) = low;
    *reinterpret_cast<AnyAlignment*>(to + kHalf) = high;
  }

  static LanePair all(Element x) { return {Half{} + x, Half{} + x}; }
  Element operator[](std::int64_t i) const { return i < kHalf ? low[i] : high[i - kHalf]; }
  LanePair& operator+=(LanePair b) { return *this = *this + b; }

  friend LanePair operator+(LanePair a, LanePair b) { return {a.low + b.low, a.high + b.high}; }
  friend LanePair operator-(LanePair a, LanePair b) { return {a.low - b.low, a.high - b.high}; }
  friend LanePair operator*(LanePair a, LanePair b) { return {a.low * b.low, a.high * b.high}; }
  friend LanePair operator/(LanePair a, LanePair b) { return {a.low / b.low, a.high / b.high}; }
  friend LanePair operator+(LanePair a, Element b) { return {a.low + b, a.high + b}; }
  friend LanePair operator-(LanePair a, Element b) { return {a.low - b, a.high - b}; }
  friend LanePair operator*(LanePair a, Element b) { return {a.low * b, a.high * b}; }
  friend LanePair operator/(LanePair a, Element b) { return {a.low / b, a.high / b}; }
  friend LanePair operator+(Element a, LanePair b) { return {a + b.low, a + b.high}; }
  friend LanePair operator-(Element a, LanePair b) { return {a - b.low, a - b.high}; }
  friend LanePair operator*(Element a, LanePair b) { return {a * b.low, a * b.high}; }
  friend LanePair operator/(Element a, LanePair b) { return {a / b.low, a / b.high}; }
  friend LanePair operator>>(LanePair a, int bits) { return {a.low >> bits, a.high >> bits}; }
  friend LanePair operator<<(LanePair a, int bits) { return {a.low << bits, a.high << bits}; }

  friend Mask operator<(LanePair a, Element b) { return {a.low < b, a.high < b}; }
  friend Mask operator>(LanePair a, Element b) { return {a.low > b, a.high > b}; }
  friend Mask operator>=(LanePair a, Element b) { return {a.low >= b, a.high >= b}; }
  friend Mask operator>(LanePair a, LanePair b) { return {a.low > b.low, a.high > b.high}; }
  friend Mask operator==(LanePair a, LanePair b) { return {a.low == b.low, a.high == b.high}; }

  friend LanePair select(Mask mask, LanePair a, LanePair b) {
    return {mask.low ? a.low : b.low, mask.high ? a.high : b.high};
  }
};

// The same bits as another type.
template <class To, class Element>
LanePair<To> bits_as(LanePair<Element> x) {
  using Half = typename LanePair<To>::Half;
  return {reinterpret_cast<Half>(x.low), reinterpret_cast<Half>(x.high)};
}

}  // namespace talaria::model::cpu
