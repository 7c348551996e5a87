// SPDX-License-Identifier: Apache-2.0
// What the cpu kernels are built on: vectors, exponentials, random words, small products. Compiled
// with the kernels' -march.
#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "model/cpu/isa.h"
#include "model/cpu/random.h"
#include "model/cpu/simd.h"
#include "model/cpu/small_product.h"
#include "model/ops.h"

namespace talaria::model::cpu {
namespace {

TEST(Philox, GivesThePublishedAnswers) {
  // Random123's known-answer vectors of philox4x32-10.
  constexpr std::uint32_t kOnes = 0xFFFFFFFFU;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0),
            (PhiloxBlock{0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, ~std::uint64_t{0}),
            (PhiloxBlock{0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU}));
  EXPECT_EQ(philox4x32({0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U}, 0x299F31D0A4093822ULL),
            (PhiloxBlock{0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U}));
}

TEST(Philox, VectorisedWordsAreTheScalarOnes) {
  const PhiloxStream stream = {0xFEDCBA9876543210ULL, 41, 6};
  // The last runs over the largest counter an element may have.
  for (const std::int64_t first : {0LL, 1LL, 63LL, 1002LL, (1LL << 34) - 100}) {
    for (const std::int64_t count : {1, 4, 63, 64, 100}) {
      std::vector<std::uint32_t> scratch(static_cast<std::size_t>(random_scratch_size(count)));
      const std::uint32_t* words = random_words(stream, 12, first, count, scratch.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const PhiloxBlock block = philox4x32(
            {static_cast<std::uint32_t>((first + i) / 4), stream.stream, 12, stream.step},
            stream.seed);
        ASSERT_EQ(words[i], block[static_cast<std::size_t>((first + i) % 4)])
            << first << " + " << i;
      }
    }
  }
}

TEST(Dropout, KeepsTheStatedShare) {
  const std::int64_t count = 1 << 20;
  std::vector<float> ones(static_cast<std::size_t>(count), 1.0F);
  std::vector<float> kept(ones.size());
  const Dropout dropout = {0.1F, {3, 1, 2}, 0};
  dropout_backward({}, TensorView(ones.data(), {1024, 1024}), 1024, dropout,
                   TensorView(kept.data(), {1024, 1024}));
  double zeros = 0.0;
  for (const float x : kept) {
    ASSERT_TRUE(x == 0.0F || x == 1.0F / (1.0F - 0.1F));
    if (x == 0.0F) ++zeros;
  }
  EXPECT_NEAR(zeros / static_cast<double>(count), 0.1, 5 * std::sqrt(0.09 / count));
}

// |x - exact| in units of the last place of the float nearest to `exact`.
double ulps(float x, double exact) {
  const float nearest = static_cast<float>(exact);
  const double ulp = static_cast<double>(std::nextafter(std::abs(nearest), INFINITY)) -
                     static_cast<double>(std::abs(nearest));
  return std::abs(static_cast<double>(x) - exact) / ulp;
}

TEST(Exp, IsWithinOneUlp) {
  double worst = 0.0;
  std::array<float, 16> in{};
  std::array<float, 16> out{};
  const auto check = [&] {
    store(out.data(), exp(load(in.data(), FullLanes{})), FullLanes{});
    for (std::size_t i = 0; i < 16; ++i) {
      const double exact = std::exp(static_cast<double>(in[i]));
      if (exact < std::numeric_limits<float>::min()) {
        ASSERT_TRUE(out[i] == 0.0F || out[i] == std::numeric_limits<float>::min()) << in[i];
      } else {
        worst = std::max(worst, ulps(out[i], exact));
      }
    }
  };
  // Every 1009th float of either sign, from the smallest to beyond the limits.
  for (const std::uint32_t sign : {0U, 0x80000000U}) {
    const float limit = sign == 0 ? 88.72F : 104.5F;
    std::size_t lane = 0;
    for (std::uint32_t bits = 0; bits < std::bit_cast<std::uint32_t>(limit); bits += 1009) {
      in[lane++] = std::bit_cast<float>(bits | sign);
      if (lane == 16) check();
      lane %= 16;
    }
  }
  RecordProperty("worst_ulps", std::to_string(worst));
  EXPECT_LE(worst, 1.0);
  EXPECT_GT(worst, 0.5);  // the sweep reached inexact results
}

TEST(Exp, IsRightAtTheLimits) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exp_one(-infinity), 0.0F);
  EXPECT_EQ(exp_one(-1e30F), 0.0F);
  EXPECT_EQ(exp_one(-105.0F), 0.0F);
  EXPECT_GT(exp_one(-87.33F), 0.0F);
  EXPECT_EQ(exp_one(0.0F), 1.0F);
  EXPECT_EQ(exp_one(-0.0F), 1.0F);
  EXPECT_TRUE(std::isfinite(exp_one(88.72F)));
  EXPECT_EQ(exp_one(88.73F), infinity);
  EXPECT_EQ(exp_one(infinity), infinity);
  EXPECT_TRUE(std::isnan(exp_one(std::nanf(""))));
}

// Absolute error, relative to the larger of |gelu| and 1, over [-20, 20]; and far beyond.
TEST(Gelu, SweepAgainstDouble) {
  const std::int64_t count = 400001;
  std::vector<float> x(static_cast<std::size_t>(count));
  std::vector<float> dy(x.size(), 1.0F);
  std::vector<float> y(x.size());
  std::vector<float> dx(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -20.0F + 1e-4F * static_cast<float>(i);
  x[0] = -3e38F;
  x[1] = 3e38F;
  gelu({}, ConstTensorView(TensorView(x.data(), {count})), TensorView(y.data(), {count}));
  gelu_backward({}, TensorView(x.data(), {count}), TensorView(dy.data(), {count}),
                TensorView(dx.data(), {count}));
  double worst = 0.0;
  double worst_slope = 0.0;
  for (std::size_t i = 2; i < x.size(); ++i) {
    const double a = x[i];
    const double t = std::tanh(0.79788456080286535588 * (a + 0.044715 * a * a * a));
    const double slope = 0.79788456080286535588 * (1.0 + 3 * 0.044715 * a * a);
    const double exact = 0.5 * a * (1.0 + t);
    const double exact_slope = 0.5 * (1.0 + t) + 0.5 * a * (1.0 - t * t) * slope;
    worst = std::max(worst, std::abs(y[i] - exact) / std::max(1.0, std::abs(exact)));
    worst_slope = std::max(worst_slope, std::abs(dx[i] - exact_slope));
  }
  EXPECT_LE(worst, 3e-7);
  EXPECT_LE(worst_slope, 6e-7);
  EXPECT_NEAR(y[0], 0.0F, 1e-30F);
  EXPECT_NEAR(dx[0], 0.0F, 1e-30F);
  EXPECT_EQ(y[1], 3e38F);
  EXPECT_EQ(dx[1], 1.0F);
}

TEST(Folds, UseTheStatedTree) {
  std::array<float, 16> x{};
  std::mt19937 engine(3);
  std::uniform_real_distribution<float> draw(-1.0F, 1.0F);
  for (float& value : x) value = draw(engine);
  std::array<float, 16> expected = x;
  for (std::size_t width = 8; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) expected[i] += expected[i + width];
  }
  EXPECT_EQ(fold_sum(load(x.data(), FullLanes{})), expected[0]);
  EXPECT_EQ(fold_max(load(x.data(), FullLanes{})), *std::max_element(x.begin(), x.end()));
}

TEST(Tails, ReadAndWriteOnlyTheirLanes) {
  std::array<float, 17> from{};
  from.fill(3.0F);
  for (int count = 1; count < 16; ++count) {
    std::array<float, 17> to{};
    store(to.data(), load(from.data(), PartLanes{count}) + 1.0F, PartLanes{count});
    for (int i = 0; i < 17; ++i) {
      EXPECT_EQ(to[static_cast<std::size_t>(i)], i < count ? 4.0F : 0.0F);
    }
    EXPECT_EQ(fold_sum(load(from.data(), PartLanes{count})), 3.0F * static_cast<float>(count));
    EXPECT_EQ(fold_max(fill_tail(load(from.data(), PartLanes{count}), 9.0F, PartLanes{count})),
              9.0F);
  }
}

// Every element is the plain FMA chain, bit for bit, whatever tile it falls into.
TEST(SmallProduct, IsTheFmaChain) {
  std::mt19937 engine(4);
  std::uniform_real_distribution<float> draw(-1.0F, 1.0F);
  for (const std::int64_t rows : {1, 5, 12, 13, 48}) {
    for (const std::int64_t columns : {16, 32, 48, 80}) {
      for (const std::int64_t depth : {1, 3, 50}) {
        for (const bool transposed : {false, true}) {
          std::vector<float> a(static_cast<std::size_t>(rows * depth));
          std::vector<float> b(static_cast<std::size_t>(depth * columns));
          std::vector<float> c(static_cast<std::size_t>(rows * columns));
          for (auto* values : {&a, &b, &c}) {
            for (float& value : *values) value = draw(engine);
          }
          std::vector<float> expected = c;
          const std::int64_t a_row = transposed ? 1 : depth;
          const std::int64_t a_column = transposed ? rows : 1;
          for (std::int64_t m = 0; m < rows; ++m) {
            for (std::int64_t n = 0; n < columns; ++n) {
              float& sum = expected[static_cast<std::size_t>(m * columns + n)];
              for (std::int64_t k = 0; k < depth; ++k) {
                sum = std::fma(a[static_cast<std::size_t>(m * a_row + k * a_column)],
                               b[static_cast<std::size_t>(k * columns + n)], sum);
              }
            }
          }
          multiply_small({rows, columns, depth, a.data(), a_row, a_column, b.data(), columns,
                          c.data(), columns, true});
          EXPECT_EQ(c, expected) << rows << " x " << columns << " x " << depth;
        }
      }
    }
  }
}

TEST(Isa, ThisMachineRunsItsOwnBuild) {
  EXPECT_EQ(cpu_kernels_missing_feature(), "");
  EXPECT_FALSE(cpu_kernels_isa().empty());
  EXPECT_EQ(onednn_version()[0], '2');
}

}  // namespace
}  // namespace talaria::model::cpu
