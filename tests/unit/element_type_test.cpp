// SPDX-License-Identifier: Apache-2.0
// Every 16-bit pattern of both formats, against their definition; and the rounding between each two
// neighbours.
#include "storage/exchange/element_type.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace talaria::storage {
namespace {

struct Format {
  ElementType type;
  int exponent_bits;
  float (*to_float)(std::uint16_t);
  std::uint16_t (*to_bits)(float);
};
constexpr Format kHalf = {ElementType::kF16, 5, half_to_float, float_to_half};
constexpr Format kBfloat = {ElementType::kBf16, 8, bfloat_to_float, float_to_bfloat};

class Each16Bit : public testing::TestWithParam<Format> {
 protected:
  int fraction_bits() const { return 15 - GetParam().exponent_bits; }
  std::uint16_t infinity() const {
    return static_cast<std::uint16_t>(0x7FFF >> fraction_bits() << fraction_bits());
  }
  // IEEE 754 section 3.4, in double.
  double defined(std::uint16_t bits) const {
    const int fraction = bits & ((1 << fraction_bits()) - 1);
    const int exponent = (bits & 0x7FFF) >> fraction_bits();
    const int bias = (1 << (GetParam().exponent_bits - 1)) - 1;
    const double size = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits())
                                      : std::ldexp(fraction + (1 << fraction_bits()),
                                                   exponent - bias - fraction_bits());
    return (bits & 0x8000) != 0 ? -size : size;
  }
};

TEST_P(Each16Bit, WidensExactlyAndComesBack) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float wide = GetParam().to_float(bits);
    ASSERT_EQ(GetParam().to_bits(wide), bits) << i;
    if ((bits & 0x7FFF) > infinity()) {
      ASSERT_TRUE(std::isnan(wide)) << i;
      continue;
    }
    ASSERT_EQ(std::signbit(wide), (bits & 0x8000) != 0) << i;
    if ((bits & 0x7FFF) == infinity()) {
      ASSERT_TRUE(std::isinf(wide)) << i;
    } else {
      ASSERT_EQ(static_cast<double>(wide), defined(bits)) << i;
    }
  }
}

TEST_P(Each16Bit, RoundsToTheNearestTiesToEven) {
  const auto round = GetParam().to_bits;
  // The value after the largest would be 2^(1 + its exponent): from the midpoint on, infinity.
  for (std::uint32_t i = 0; i < infinity(); ++i) {
    const auto low = static_cast<std::uint16_t>(i);
    const auto high = static_cast<std::uint16_t>(i + 1);
    const double step = i + 1 == infinity()
                            ? defined(low) - defined(static_cast<std::uint16_t>(i - 1))
                            : defined(high) - defined(low);
    const auto middle = static_cast<float>(defined(low) + 0.5 * step);
    ASSERT_EQ(static_cast<double>(middle), defined(low) + 0.5 * step) << "f32 has the midpoint";
    const float below = std::nextafter(middle, 0.0F);
    const float above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    ASSERT_EQ(round(middle), (low & 1) == 0 ? low : high) << i;
    ASSERT_EQ(round(below), low) << i;
    ASSERT_EQ(round(above), high) << i;
    ASSERT_EQ(round(-middle), 0x8000 | ((low & 1) == 0 ? low : high)) << i;
    ASSERT_EQ(round(-above), 0x8000 | high) << i;
  }
}

TEST_P(Each16Bit, ANanStaysOneAndTheLargestOverflows) {
  const auto round = GetParam().to_bits;
  for (const std::uint32_t bits : {0x7F800001U, 0xFF800001U, 0x7FC00000U, 0x7FFFFFFFU}) {
    EXPECT_GT(round(std::bit_cast<float>(bits)) & 0x7FFF, infinity()) << bits;
  }
  EXPECT_EQ(round(std::numeric_limits<float>::max()), infinity());
  EXPECT_EQ(round(-std::numeric_limits<float>::infinity()), 0x8000 | infinity());
  EXPECT_EQ(round(std::numeric_limits<float>::denorm_min()), 0);
}

TEST_P(Each16Bit, RunsOfThemAtOddAddresses) {
  const std::vector<float> values = {1.0F, -2.5F, 0.0F, 3e38F, 1e-3F};
  std::vector<std::byte> bytes(11);
  const auto lost = narrow(GetParam().type, values, bytes.data() + 1);
  EXPECT_EQ(lost.has_value(), GetParam().type == ElementType::kF16);
  EXPECT_EQ(lost.value_or(3), 3U);
  std::vector<float> back(5);
  widen(GetParam().type, bytes.data() + 1, back);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(back[i], GetParam().to_float(GetParam().to_bits(values[i])));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Each16Bit, testing::Values(kHalf, kBfloat),
                         [](const auto& format) {
                           return std::string(name_of(format.param.type));
                         });

TEST(ElementType, NamesAndF32) {
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBf16}) {
    EXPECT_EQ(parse_element_type(name_of(type)), type);
  }
  EXPECT_FALSE(parse_element_type("F64").has_value());
  // A signalling NaN survives.
  const std::vector<float> values = {std::bit_cast<float>(0x7F800001U), -0.0F};
  std::vector<std::byte> bytes(9);
  EXPECT_FALSE(narrow(ElementType::kF32, values, bytes.data() + 1).has_value());
  std::vector<float> back(2);
  widen(ElementType::kF32, bytes.data() + 1, back);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(back[0]), 0x7F800001U);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(back[1]), 0x80000000U);
}

}  // namespace
}  // namespace talaria::storage
