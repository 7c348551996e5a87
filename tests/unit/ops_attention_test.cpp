// SPDX-License-Identifier: Apache-2.0
// The cpu kernels of attention against ref/, over shapes with tails and rows of several segments;
// what their bits depend on, and what they cost.
#include <algorithm>
#include <limits>

#include "model/ref/ops.h"
#include "tests/unit/ops_support.h"

namespace talaria::model::test {
namespace {

Dropout some_dropout(float probability) { return {probability, {0x1234567890ABCDEFULL, 17, 5}, 3}; }

struct AttentionCase {
  std::int64_t items, shards, samples_per_item, length, heads, head_size;
  float probability;
  std::int64_t longest = 0;  // segment; 0: a sample is one segment
};

// Segments of drawn lengths up to `longest`, ending in segments of one token.
std::vector<std::int32_t> drawn_starts(Random& random, std::int64_t samples, std::int64_t length,
                                       std::int64_t longest) {
  if (longest == 0) return std::vector<std::int32_t>(static_cast<std::size_t>(samples * length));
  std::vector<std::int32_t> starts;
  for (std::int64_t s = 0; s < samples; ++s) {
    std::int32_t start = 0;
    std::int64_t end = 0;
    for (std::int32_t t = 0; t < length; ++t) {
      if (t == end) {
        start = t;
        end = t < length * 3 / 4 ? t + 1 + random.ids(1, static_cast<std::int32_t>(longest))[0]
                                 : t + 1;
      }
      starts.push_back(start);
    }
  }
  return starts;
}

TEST(CpuAttention, MatchesRef) {
  Random random(10);
  for (const AttentionCase& c :
       {AttentionCase{1, 1, 1, 1, 1, 1, 0.0F}, AttentionCase{1, 1, 1, 5, 1, 7, 0.0F},
        AttentionCase{2, 2, 1, 33, 2, 16, 0.2F}, AttentionCase{1, 2, 3, 49, 1, 20, 0.0F},
        AttentionCase{1, 4, 2, 48, 2, 32, 0.5F}, AttentionCase{1, 1, 1, 147, 1, 64, 0.1F},
        AttentionCase{2, 1, 1, 100, 1, 128, 0.1F}, AttentionCase{1, 1, 1, 300, 1, 40, 0.0F},
        AttentionCase{2, 2, 2, 65, 2, 20, 0.0F, 9}, AttentionCase{1, 1, 1, 300, 1, 32, 0.3F, 110},
        AttentionCase{1, 2, 3, 50, 1, 16, 0.2F, 60}}) {
    const AttentionShape shape = {c.length, c.heads, c.head_size, 2, c.shards * c.heads + 3};
    const Dropout dropout = some_dropout(c.probability);
    const std::int64_t rows = c.samples_per_item * c.length;
    const std::int64_t width = c.heads * c.head_size;
    const Dims dims = {c.items, c.shards, rows, width};
    const std::vector<std::int32_t> all_starts =
        drawn_starts(random, c.items * c.samples_per_item, c.length, c.longest);
    const IdView starts(all_starts.data(), {c.items * rows});
    Twin qkv = random.normal({c.items, c.shards, rows, 3 * width});
    Twin dy = random.normal(dims);
    Twin y = random.normal(dims);
    Twin lse({c.items, c.shards, rows, c.heads});
    compare(
        describe("attention", dims), {&y, &lse}, 3e-6,
        [&](const Stream& s) { attention(s, qkv.f(), starts, shape, dropout, y.f(), lse.f()); },
        [&] { ref::attention(qkv.d(), starts, shape, dropout, y.d(), lse.d()); });
    Twin dqkv = random.normal(qkv.dims);  // overwritten
    compare(
        describe("attention_backward", dims), {&dqkv}, 5e-6,
        [&](const Stream& s) {
          attention_backward(s, dy.f(), qkv.f(), starts, y.f(), lse.f(), shape, dropout, dqkv.f());
        },
        [&] {
          ref::attention_backward(dy.d(), qkv.d(), starts, y.d(), lse.d(), shape, dropout,
                                  dqkv.d());
        });
  }
}

// A head's bits do not depend on how many heads a shard or shards a rank holds, nor on how samples
// are grouped into items: the packed head is the same.
TEST(CpuAttention, LayoutDoesNotChangeBits) {
  Random random(11);
  const std::int64_t length = 70;
  const std::int64_t size = 24;
  const Dropout dropout = some_dropout(0.3F);
  Twin qkv = random.normal({1, 2, length, 3 * size});  // two shards of one head
  Twin joint({1, 1, length, 3 * 2 * size});            // one shard of two heads
  for (std::int64_t t = 0; t < length; ++t) {
    for (std::int64_t part = 0; part < 3; ++part) {
      for (std::int64_t v = 0; v < 2; ++v) {
        for (std::int64_t i = 0; i < size; ++i) {
          joint.set(
              static_cast<std::size_t>(((t * 3 + part) * 2 + v) * size + i),
              qkv.f32[static_cast<std::size_t>((v * length + t) * 3 * size + part * size + i)]);
        }
      }
    }
  }
  Twin y({1, 2, length, size});
  Twin lse({1, 2, length, 1});
  Twin joint_y({1, 1, length, 2 * size});
  Twin joint_lse({1, 1, length, 2});
  const std::vector<std::int32_t> zeros(static_cast<std::size_t>(length), 0);
  const IdView starts(zeros.data(), {length});
  attention({}, qkv.f(), starts, {length, 1, size, 0, 2}, dropout, y.f(), lse.f());
  attention({}, joint.f(), starts, {length, 2, size, 0, 2}, dropout, joint_y.f(), joint_lse.f());
  for (std::int64_t t = 0; t < length; ++t) {
    for (std::int64_t v = 0; v < 2; ++v) {
      ASSERT_EQ(lse.f32[static_cast<std::size_t>(v * length + t)],
                joint_lse.f32[static_cast<std::size_t>(t * 2 + v)]);
      ASSERT_TRUE(std::equal(y.f32.begin() + (v * length + t) * size,
                             y.f32.begin() + (v * length + t + 1) * size,
                             joint_y.f32.begin() + (t * 2 + v) * size));
    }
  }
}

// A segment's outputs and gradients have the bits that it has alone in a row, whatever its
// neighbours hold; not even a NaN crosses.
TEST(CpuAttention, ASegmentHasTheBitsItHasAlone) {
  const std::int64_t length = 150;
  const std::int64_t size = 20;
  Random random(19);
  Twin qkv = random.normal({1, 1, length, 3 * size});
  Twin dy = random.normal({1, 1, length, size});
  for (const auto& [first_token, tokens] :
       {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 100}, {37, 64}, {64, 50}, {149, 1}}) {
    const std::int64_t first = first_token;
    const std::int64_t count = tokens;
    Twin foul = qkv;
    Twin foul_dy = dy;
    std::vector<std::int32_t> starts;
    for (std::int64_t t = 0; t < length; ++t) {
      const bool before = t < first;
      const bool inside = !before && t < first + count;
      starts.push_back(static_cast<std::int32_t>(before ? 0 : inside ? first : t));
      if (inside) continue;
      const float poison = t % 2 == 0 ? std::nanf("") : std::numeric_limits<float>::infinity();
      std::fill_n(foul.f32.begin() + t * 3 * size, 3 * size, poison);
      std::fill_n(foul_dy.f32.begin() + t * size, size, poison);
    }
    const IdView segments(starts.data(), {length});
    const AttentionShape shape = {length, 1, size, 0, 1};
    Twin y({1, 1, length, size});
    Twin lse({1, 1, length, 1});
    Twin dqkv({1, 1, length, 3 * size});
    attention({}, foul.f(), segments, shape, {}, y.f(), lse.f());
    attention_backward({}, foul_dy.f(), foul.f(), segments, y.f(), lse.f(), shape, {}, dqkv.f());

    const std::vector<std::int32_t> zeros(static_cast<std::size_t>(count), 0);
    const IdView one(zeros.data(), {count});
    const AttentionShape alone_shape = {count, 1, size, 0, 1};
    const ConstTensorView alone(qkv.f32.data() + first * 3 * size, {1, 1, count, 3 * size});
    const ConstTensorView alone_dy(dy.f32.data() + first * size, {1, 1, count, size});
    Twin alone_y({1, 1, count, size});
    Twin alone_lse({1, 1, count, 1});
    Twin alone_dqkv({1, 1, count, 3 * size});
    attention({}, alone, one, alone_shape, {}, alone_y.f(), alone_lse.f());
    attention_backward({}, alone_dy, alone, one, alone_y.f(), alone_lse.f(), alone_shape, {},
                       alone_dqkv.f());
    const auto part = [&](const Twin& whole, std::int64_t width) {
      return std::vector<float>(whole.f32.begin() + first * width,
                                whole.f32.begin() + (first + count) * width);
    };
    EXPECT_EQ(part(y, size), alone_y.f32) << first;
    EXPECT_EQ(part(lse, 1), alone_lse.f32) << first;
    EXPECT_EQ(part(dqkv, 3 * size), alone_dqkv.f32) << first;
  }
}

// With segments of 16 tokens a row costs 16 pairs a token, however long it is.
TEST(CpuAttention, ShortSegmentsCostWhatTheyHold) {
  for (const std::int64_t length : {64, 1024}) {
    std::vector<std::int32_t> starts;
    for (std::int64_t t = 0; t < length; ++t)
      starts.push_back(static_cast<std::int32_t>(t / 16 * 16));
    EXPECT_EQ(attention_pairs(IdView(starts.data(), {length}), length), length * 16);
  }
}

TEST(CpuAttention, ExtremeScoresAndFlops) {
  const std::int64_t length = 50;
  const std::int64_t size = 16;
  Random random(12);
  Twin qkv = random.normal({1, 1, length, 3 * size}, 100.0F);
  Twin y({1, 1, length, size});
  Twin lse({1, 1, length, 1});
  std::uint64_t flops = 0;
  Stream stream;
  stream.matmul_flops = &flops;
  const std::vector<std::int32_t> zeros(static_cast<std::size_t>(length), 0);
  const IdView starts(zeros.data(), {length});
  attention(stream, qkv.f(), starts, {length, 1, size, 0, 1}, {}, y.f(), lse.f());
  ref::attention(qkv.d(), starts, {length, 1, size, 0, 1}, {}, y.d(), lse.d());
  EXPECT_LE(relative_error(y), 1e-3);  // scores of 1e5 lose 1e-2 of absolute precision
  EXPECT_EQ(flops, 4U * size * (48 * 48 + 2 * 50));
}

}  // namespace
}  // namespace talaria::model::test
