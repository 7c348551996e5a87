// SPDX-License-Identifier: Apache-2.0
// The operations of an inference pass against ref/, and their promise: a row's bits do not depend
// on what comes with it.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "model/ref/ops.h"
#include "tests/unit/ops_support.h"

namespace talaria::model::test {
namespace {

struct ProductCase {
  std::int64_t shards, rows, columns, depth;
  bool shared_a;
};
constexpr ProductCase kProducts[] = {{1, 1, 1, 1, false},    {1, 5, 7, 3, false},
                                     {2, 33, 16, 7, true},   {4, 9, 130, 33, false},
                                     {1, 8, 768, 64, true},  {2, 12, 300, 257, true},
                                     {1, 3, 64, 3072, true}, {1, 20, 1030, 130, false}};

TEST(RowProduct, MatchesRef) {
  Random random(1);
  for (const ProductCase& p : kProducts) {
    Twin a = random.normal({p.shared_a ? 1 : p.shards, p.rows, p.depth});
    Twin b = random.normal({p.shards, p.columns, p.depth});
    Twin c = random.normal({p.shards, p.rows, p.columns});  // overwritten
    compare(
        describe("rows", {p.shards, p.rows, p.columns, p.depth}), {&c}, 2e-6,
        [&](const Stream& s) { matmul_rows(s, a.f(), b.f(), c.f()); },
        [&] { ref::matmul_rows(a.d(), b.d(), c.d()); });
  }
}

TEST(RowProduct, ARowsBitsAreItsOwn) {
  Random random(2);
  ThreadPool pool(2);
  Stream stream;
  stream.pool = &pool;
  for (const std::int64_t depth : {19, 64, 768, 1000}) {
    const std::int64_t rows = 29;
    const std::int64_t columns = 205;
    Twin a = random.normal({1, rows, depth});
    Twin b = random.normal({1, columns, depth});
    Twin together({1, rows, columns});
    matmul_rows(stream, a.f(), b.f(), together.f());
    for (std::int64_t count = 1; count < rows; ++count) {
      const std::int64_t first = rows - count;
      Twin apart({1, count, columns});
      matmul_rows(stream, {a.f32.data() + first * depth, {1, count, depth}}, b.f(), apart.f());
      ASSERT_EQ(0, std::memcmp(apart.f32.data(), together.f32.data() + first * columns,
                               apart.f32.size() * sizeof(float)))
          << depth << " " << count;
    }
    // A column's too: alone it lies in another tile.
    for (const std::int64_t column : {0, 23, 100, 204}) {
      Twin apart({1, rows, 1});
      matmul_rows(stream, a.f(), {b.f32.data() + column * depth, {1, 1, depth}}, apart.f());
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto at = static_cast<std::size_t>(r);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(apart.f32[at]),
                  std::bit_cast<std::uint32_t>(
                      together.f32[at * columns + static_cast<std::size_t>(column)]))
            << depth << " " << column;
      }
    }
  }
}

struct Rows {
  std::vector<std::int32_t> slots;
  std::vector<std::int32_t> positions;
  void add(std::int32_t slot, std::int32_t first, std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      slots.push_back(slot);
      positions.push_back(first + i);
    }
  }
  IdView slot_view() const { return {slots.data(), {static_cast<std::int64_t>(slots.size())}}; }
  IdView position_view() const {
    return {positions.data(), {static_cast<std::int64_t>(positions.size())}};
  }
};

constexpr std::int64_t kTokens = 160;
constexpr std::int64_t kSlots = 3;

TEST(CachedAttention, MatchesRef) {
  Random random(3);
  for (const auto& shape :
       {std::array<std::int64_t, 3>{1, 1, 8}, {2, 3, 16}, {1, 2, 64}, {2, 1, 20}}) {
    const std::int64_t shards = shape[0];
    const std::int64_t heads = shape[1];
    const std::int64_t size = shape[2];
    const std::int64_t padded = (size + 15) / 16 * 16;
    Twin keys({kSlots, shards * heads, kTokens, padded});
    Twin values({kSlots, shards * heads, kTokens, padded});
    // Prompts, then single tokens beside a second part of a prompt.
    std::vector<Rows> passes(3);
    passes[0].add(2, 0, 70);
    passes[0].add(0, 0, 1);
    passes[1].add(0, 1, 1);
    passes[1].add(2, 70, 61);
    passes[1].add(1, 0, 33);
    passes[2].add(0, 2, 1);
    passes[2].add(1, 33, 1);
    passes[2].add(2, 131, 1);
    for (const Rows& rows : passes) {
      const auto count = static_cast<std::int64_t>(rows.slots.size());
      Twin qkv = random.normal({shards, count, 3 * heads * size});
      Twin y({shards, count, heads * size});
      // What one thread stored, the others store again.
      compare(
          describe("cached attention", {shards, heads, size, count}), {&y}, 3e-6,
          [&](const Stream& s) {
            cached_attention(s, qkv.f(), rows.slot_view(), rows.position_view(), heads, size,
                             keys.f(), values.f(), y.f());
          },
          [&] {
            ref::cached_attention(qkv.d(), rows.slot_view(), rows.position_view(), heads, size,
                                  keys.d(), values.d(), y.d());
          });
    }
  }
}

// However a sequence is cut into passes, and whatever lay in its slot before, its bits are those of
// the training operation.
TEST(CachedAttention, HasTheBitsOfTheTrainingPass) {
  Random random(4);
  ThreadPool pool(2);
  Stream stream;
  stream.pool = &pool;
  const std::int64_t heads = 2;
  for (const std::int64_t size : {24, 64}) {
    const std::int64_t width = heads * size;
    const std::int64_t length = 131;
    Twin qkv = random.normal({1, 1, length, 3 * width});
    Twin whole({1, 1, length, width});
    Twin lse({1, 1, length, heads});
    const std::vector<std::int32_t> starts(static_cast<std::size_t>(length), 0);
    attention(stream, qkv.f(), {starts.data(), {length}}, {length, heads, size, 0, heads}, {},
              whole.f(), lse.f());
    Twin keys = random.normal({kSlots, heads, kTokens, (size + 15) / 16 * 16});
    Twin values = random.normal({kSlots, heads, kTokens, (size + 15) / 16 * 16});
    for (const std::int32_t piece : {1, 7, 48, 50, 131}) {
      for (std::int32_t first = 0; first < length; first += piece) {
        Rows rows;
        rows.add(1, first, std::min(piece, static_cast<std::int32_t>(length) - first));
        const auto count = static_cast<std::int64_t>(rows.slots.size());
        Twin y({1, count, width});
        cached_attention(stream, {qkv.f32.data() + first * 3 * width, {1, count, 3 * width}},
                         rows.slot_view(), rows.position_view(), heads, size, keys.f(), values.f(),
                         y.f());
        ASSERT_EQ(0, std::memcmp(y.f32.data(), whole.f32.data() + first * width,
                                 y.f32.size() * sizeof(float)))
            << size << " " << piece << " " << first;
      }
    }
  }
}

}  // namespace
}  // namespace talaria::model::test
