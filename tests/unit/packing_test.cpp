// SPDX-License-Identifier: Apache-2.0
// Units packed into rows, and rows as the model eats them.
#include "storage/chat/packing.h"

#include <cmath>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/chat/rows.h"

namespace talaria::storage {
namespace {

using testing::ElementsAre;

using Rows = std::vector<std::vector<std::int32_t>>;

std::vector<std::int32_t> random_lengths(std::mt19937_64& random, std::size_t count,
                                         std::int32_t length) {
  std::vector<std::int32_t> lengths(count);
  for (std::int32_t& each : lengths) {
    each = 1 + static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(length));
  }
  return lengths;
}

// Lengths of real conversations are about log-normal. Drawn by Box and Muller's formula.
std::vector<std::int32_t> log_normal_lengths(std::size_t count, std::int32_t length) {
  std::mt19937_64 random(11);
  std::vector<std::int32_t> lengths;
  while (lengths.size() < count) {
    const double u = (static_cast<double>(random() >> 11) + 1) * 0x1p-53;
    const double v = static_cast<double>(random() >> 11) * 0x1p-53;
    const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979 * v);
    const auto tokens = static_cast<std::int32_t>(std::exp(5.3 + 0.8 * normal));
    if (tokens >= 1 && tokens <= length) lengths.push_back(tokens);
  }
  return lengths;
}

void expect_a_partition(const Rows& rows, const std::vector<std::int32_t>& lengths,
                        std::int64_t length) {
  std::vector<int> seen(lengths.size());
  for (const auto& row : rows) {
    ASSERT_FALSE(row.empty());
    std::int64_t tokens = 0;
    for (const std::int32_t unit : row) {
      ++seen.at(static_cast<std::size_t>(unit));
      tokens += lengths[static_cast<std::size_t>(unit)];
    }
    ASSERT_LE(tokens, length);
  }
  EXPECT_THAT(seen, testing::Each(1));
}

TEST(Packing, EveryUnitOnceAnEpochAndRowsWithinTheirLength) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto length = static_cast<std::int32_t>(1 + random() % 200);
    const auto lengths = random_lengths(random, 1 + random() % 500, length);
    const std::uint64_t seed = random();
    for (const std::int64_t epoch : {0, 1, 7}) {
      expect_a_partition(pack_epoch(lengths, length, true, seed, epoch), lengths, length);
      const Rows alone = pack_epoch(lengths, length, false, seed, epoch);
      expect_a_partition(alone, lengths, length);
      EXPECT_EQ(alone.size(), lengths.size());
    }
  }
}

TEST(Packing, APureFunctionOfSeedAndEpoch) {
  std::mt19937_64 random(2);
  const auto lengths = random_lengths(random, 300, 64);
  const Rows rows = pack_epoch(lengths, 64, true, 5, 3);
  EXPECT_EQ(pack_epoch(lengths, 64, true, 5, 3), rows);
  EXPECT_NE(pack_epoch(lengths, 64, true, 5, 4), rows);
  EXPECT_NE(pack_epoch(lengths, 64, true, 6, 3), rows);
  EXPECT_NE(pack_epoch(lengths, 64, false, 5, 3), pack_epoch(lengths, 64, false, 5, 4));
}

// The rule said word by word: of the rows that are open and have room, the fullest.
Rows packed_by_the_rule(const std::vector<std::int32_t>& lengths, std::int64_t length,
                        const Rows& order) {
  const auto tokens = [&](const std::vector<std::int32_t>& row) {
    return std::accumulate(
        row.begin(), row.end(), std::int64_t{0},
        [&](std::int64_t sum, int unit) { return sum + lengths[static_cast<std::size_t>(unit)]; });
  };
  Rows rows;
  for (const std::vector<std::int32_t>& unit : order) {
    std::vector<std::int32_t>* fullest = nullptr;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const bool open = rows.size() - i <= kOpenRows;
      if (!open || tokens(rows[i]) + tokens(unit) > length) continue;
      if (fullest == nullptr || tokens(rows[i]) > tokens(*fullest)) fullest = &rows[i];
    }
    if (fullest == nullptr) fullest = &rows.emplace_back();
    fullest->push_back(unit[0]);
  }
  return rows;
}

TEST(Packing, TheFullestOpenRowWithRoomIsTaken) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20; ++round) {
    // Many units above half a row, so that rows are closed with room in them.
    auto lengths = random_lengths(random, 600, 100);
    for (std::size_t i = 0; i < 300; ++i) lengths[i] = 51 + lengths[i] % 40;
    const std::uint64_t seed = random();
    const Rows order = pack_epoch(lengths, 100, false, seed, 2);
    const Rows rows = pack_epoch(lengths, 100, true, seed, 2);
    ASSERT_GT(rows.size(), 2 * kOpenRows);
    ASSERT_EQ(rows, packed_by_the_rule(lengths, 100, order));
  }
}

TEST(Packing, LogNormalLengthsFillTheRows) {
  const auto lengths = log_normal_lengths(5000, 1024);
  const double fill = fill_of(pack_epoch(lengths, 1024, true, 1, 0), lengths, 1024);
  const double alone = fill_of(pack_epoch(lengths, 1024, false, 1, 0), lengths, 1024);
  RecordProperty("fill", std::to_string(fill));
  std::printf("5000 units of log-normal length in rows of 1024: %.1f %% full, alone %.1f %%\n",
              100 * fill, 100 * alone);
  EXPECT_GE(fill, 0.9);
  EXPECT_LT(alone, 0.4);
}

TEST(PackedRows, EpochsOneAfterTheOtherFromAnywhere) {
  std::mt19937_64 random(3);
  const auto lengths = random_lengths(random, 40, 50);
  Rows all;
  std::vector<std::int64_t> epochs;
  for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
    for (auto& row : pack_epoch(lengths, 50, true, 9, epoch)) {
      all.push_back(std::move(row));
      epochs.push_back(epoch);
    }
  }
  PackedRows forward(lengths, 50, true, 9);
  EXPECT_EQ(forward.rows_in_first_epoch(), std::count(epochs.begin(), epochs.end(), 0));
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(forward.row(static_cast<std::int64_t>(i)), all[i]) << i;
    ASSERT_EQ(forward.epoch_of(static_cast<std::int64_t>(i)), epochs[i]) << i;
  }
  PackedRows anywhere(lengths, 50, true, 9);
  for (int i = 0; i < 100; ++i) {
    const std::size_t at = random() % all.size();
    ASSERT_EQ(anywhere.row(static_cast<std::int64_t>(at)), all[at]) << at;
  }
}

Conversation conversation(std::vector<std::int32_t> ids, std::vector<std::uint8_t> trained) {
  Conversation made;
  made.ids = std::move(ids);
  made.trained = std::move(trained);
  return made;
}

TEST(Rows, ConversationsEndToEnd) {
  const Conversation a = conversation({10, 11, 12, 13}, {0, 0, 1, 1});
  const Conversation b = conversation({20, 21}, {0, 1});
  EXPECT_EQ(row_tokens(a), 3);
  EXPECT_EQ(row_tokens(b), 1);
  const std::vector<const Conversation*> units = {&a, &b};
  const Row row = conversation_row(units, 6, 99);
  EXPECT_THAT(row.inputs, ElementsAre(10, 11, 12, 20, 99, 99));
  EXPECT_THAT(row.targets, ElementsAre(11, 12, 13, 21, 99, 99));
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 3, 4, 5));
  EXPECT_THAT(row.weights, ElementsAre(0, 1, 1, 1, 0, 0));
  EXPECT_THAT(conversation_row(units, 4, 99).inputs, ElementsAre(10, 11, 12, 20));
  EXPECT_THAT(conversation_row({}, 2, 99).starts, ElementsAre(0, 1));
}

TEST(Rows, AnswersEachWithTheirPrompt) {
  Comparison a;
  a.prompt = {1, 2};
  a.answers = {{3}, {4, 5}};
  Comparison b;
  b.prompt = {6};
  b.answers = {{7}, {8}, {9}};
  EXPECT_EQ(row_tokens(a), 7);
  EXPECT_EQ(row_tokens(b), 6);
  EXPECT_THAT(row_tokens(std::vector<Comparison>{a, b}), ElementsAre(7, 6));
  const std::vector<const Comparison*> units = {&a, &b};
  const ComparisonRow made = comparison_row(units, 15, 0);
  EXPECT_THAT(made.row.inputs, ElementsAre(1, 2, 3, 1, 2, 4, 5, 6, 7, 6, 8, 6, 9, 0, 0));
  EXPECT_THAT(made.row.targets, ElementsAre(2, 3, 0, 2, 4, 5, 0, 7, 0, 8, 0, 9, 0, 0, 0));
  EXPECT_THAT(made.row.starts, ElementsAre(0, 0, 0, 3, 3, 3, 3, 7, 7, 9, 9, 11, 11, 13, 14));
  EXPECT_THAT(made.row.weights, testing::Each(0));
  ASSERT_EQ(made.places.size(), 2u);
  EXPECT_EQ(made.places[0][0].last, 2);
  EXPECT_EQ(made.places[0][1].last, 6);
  EXPECT_EQ(made.places[1][2].last, 12);
}

TEST(RowsDeathTest, MoreThanARowIsABug) {
  const Conversation a = conversation({10, 11, 12, 13}, {0, 0, 1, 1});
  const std::vector<const Conversation*> units = {&a};
  EXPECT_DEATH(conversation_row(units, 2, 0), "more than 2 tokens in a row");
  EXPECT_DEATH(pack_epoch(std::vector<std::int32_t>{3}, 2, true, 1, 0), "unit 0 has 3 of 2 tokens");
}

}  // namespace
}  // namespace talaria::storage
