// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/element_type.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace talaria::storage {
namespace {

static_assert(std::endian::native == std::endian::little);

// `bits` without its low `count` bits (1 to 31), rounded to the nearest, ties to even.
std::uint32_t drop_bits(std::uint32_t bits, unsigned count) {
  const std::uint32_t kept = bits >> count;
  const std::uint32_t dropped = bits & ((1U << count) - 1);
  const std::uint32_t tie = 1U << (count - 1);
  return kept + (dropped > tie || (dropped == tie && (kept & 1U) != 0) ? 1 : 0);
}

template <class Narrow>
std::optional<std::size_t> narrow_each(std::span<const float> from, std::byte* to,
                                       std::uint16_t infinity, const Narrow& narrow_one) {
  std::optional<std::size_t> overflow;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::uint16_t bits = narrow_one(from[i]);
    if ((bits & 0x7FFF) == infinity && std::isfinite(from[i]) && !overflow) overflow = i;
    std::memcpy(to + 2 * i, &bits, 2);
  }
  return overflow;
}

template <class Widen>
void widen_each(const std::byte* from, std::span<float> out, const Widen& widen_one) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * i, 2);
    out[i] = widen_one(bits);
  }
}

}  // namespace

std::int64_t size_of(ElementType type) { return type == ElementType::kF32 ? 4 : 2; }

std::string_view name_of(ElementType type) {
  if (type == ElementType::kF32) return "F32";
  return type == ElementType::kF16 ? "F16" : "BF16";
}

std::optional<ElementType> parse_element_type(std::string_view name) {
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBf16}) {
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {  // a multiple of 2^-24: f32 has it exactly
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

float bfloat_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t exponent = (bits >> 23) & 0xFFU;
  const std::uint32_t fraction = bits & 0x7FFFFFU;
  std::uint32_t half = 0;
  if (exponent == 0xFF) {
    half = 0x7C00U | fraction >> 13;
    if (fraction != 0 && half == 0x7C00U) half |= 0x200U;
  } else if (exponent >= 127 + 16) {
    half = 0x7C00U;
  } else if (exponent > 127 - 15) {
    // A carry out of the fraction goes into the exponent, and from the largest to infinity.
    half = drop_bits((exponent - (127 - 15)) << 23 | fraction, 13);
  } else if (exponent >= 127 - 25) {  // subnormal: in units of 2^-24
    half = drop_bits(fraction | 0x800000U, 127 - 1 - exponent);
  }
  return static_cast<std::uint16_t>(sign | half);
}

std::uint16_t float_to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) {
    const std::uint32_t high = bits >> 16;
    return static_cast<std::uint16_t>((high & 0x7FU) == 0 ? high | 0x40U : high);
  }
  return static_cast<std::uint16_t>(drop_bits(bits, 16));
}

void widen(ElementType type, const std::byte* from, std::span<float> out) {
  if (out.empty()) return;
  switch (type) {
    case ElementType::kF32:
      std::memcpy(out.data(), from, out.size_bytes());
      break;
    case ElementType::kF16:
      widen_each(from, out, half_to_float);
      break;
    case ElementType::kBf16:
      widen_each(from, out, bfloat_to_float);
      break;
  }
}

std::optional<std::size_t> narrow(ElementType type, std::span<const float> from, std::byte* to) {
  if (type == ElementType::kF16) return narrow_each(from, to, 0x7C00, float_to_half);
  if (type == ElementType::kBf16) return narrow_each(from, to, 0x7F80, float_to_bfloat);
  if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
  return std::nullopt;
}

}  // namespace talaria::storage
