// SPDX-License-Identifier: Apache-2.0
// The number formats of weights in files: IEEE 754 binary32 and binary16, and bfloat16, all
// little-endian. Widening to f32 is exact; narrowing rounds to the nearest, ties to even.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace talaria::storage {

enum class ElementType { kF32, kF16, kBf16 };

// Bytes of one element.
std::int64_t size_of(ElementType type);
// "F32", "F16", "BF16": safetensors' names; and back, or nothing.
std::string_view name_of(ElementType type);
std::optional<ElementType> parse_element_type(std::string_view name);

// Every number, infinity and NaN payload is kept, so narrowing the result gives the bits back.
float half_to_float(std::uint16_t bits);
float bfloat_to_float(std::uint16_t bits);
// Beyond the largest number: infinity. A NaN stays one and keeps the payload's high bits.
std::uint16_t float_to_half(float value);
std::uint16_t float_to_bfloat(float value);

// Elements of `type` at `from` as f32: out.size() of them. `from` need not be aligned.
void widen(ElementType type, const std::byte* from, std::span<float> out);
// And back: writes size_of(type) * from.size() bytes. Returns the index of the first finite number
// that became infinite, or nothing.
std::optional<std::size_t> narrow(ElementType type, std::span<const float> from, std::byte* to);

}  // namespace talaria::storage
