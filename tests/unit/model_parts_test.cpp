// SPDX-License-Identifier: Apache-2.0
// The small parts that invariance rests on: exact sums, the folding of groups, ZeRO's pieces, the
// learning rate.
#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "model/batch.h"
#include "model/exact_sum.h"
#include "model/gradient_fold.h"
#include "model/learning_rate.h"
#include "parallel/zero.h"
#include "tests/support/run_ranks.h"

namespace talaria::model {
namespace {

TEST(ExactSum, NoOrderAndNoGroupingChangesTheBits) {
  std::mt19937_64 random(5);
  std::vector<double> terms;
  terms.reserve(500);
  for (int i = 0; i < 500; ++i) {
    terms.push_back(
        std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 300) - 220));
  }
  const auto sum = [](const std::vector<double>& values) {
    ExactSum total;
    for (const double value : values) total.add(value);
    return total;
  };
  const double expected = sum(terms).value();
  for (int round = 0; round < 20; ++round) {
    std::shuffle(terms.begin(), terms.end(), random);
    const auto cut = static_cast<std::ptrdiff_t>(random() % terms.size());
    const ExactSum left = sum({terms.begin(), terms.begin() + cut});
    ExactSum right = sum({terms.begin() + cut, terms.end()});
    for (std::size_t i = 0; i < ExactSum::kDigits; ++i) right.digits()[i] += left.digits()[i];
    EXPECT_EQ(std::bit_cast<std::uint64_t>(right.value()), std::bit_cast<std::uint64_t>(expected));
  }
}

TEST(ExactSum, IsTheSum) {
  ExactSum total;
  for (int i = 1; i <= 1000; ++i) total.add(0.001 * i);
  EXPECT_NEAR(total.value(), 500.5, 1e-12);
  ExactSum extreme;
  extreme.add(std::ldexp(1.0, 287));
  extreme.add(5e-324);
  extreme.add(0.0);
  EXPECT_EQ(extreme.value(), std::ldexp(1.0, 287));
  ExactSum tiny;
  tiny.add(std::ldexp(1.0, -300));
  EXPECT_EQ(tiny.value(), std::ldexp(1.0, -300));
}

TEST(Batch, OfPretrainingIsOneSegmentARow) {
  const std::vector<std::int32_t> ids = {5, 6, 7, 8, 9, 10};
  const Batch batch = causal_batch(ids, 2);
  EXPECT_EQ(batch.samples(), 2);
  EXPECT_EQ(batch.inputs, (std::vector<std::int32_t>{5, 6, 8, 9}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{6, 7, 9, 10}));
  EXPECT_EQ(batch.weights, std::vector<float>(4, 1.0F));
  EXPECT_EQ(batch.starts, std::vector<std::int32_t>(4, 0));
  check_batch(batch);
}

TEST(BatchDeathTest, StartsNeverFallNorLieAhead) {
  Batch batch = causal_batch(std::vector<std::int32_t>{1, 2, 3, 4, 5}, 4);
  batch.starts = {0, 0, 2, 2};
  check_batch(batch);
  batch.starts = {0, 1, 0, 0};
  EXPECT_DEATH(check_batch(batch), "token 2 of a row starts at 0");
  batch.starts = {0, 0, 0, 4};
  EXPECT_DEATH(check_batch(batch), "token 3 of a row starts at 4");
  batch.starts = {0, 0, 0};
  EXPECT_DEATH(check_batch(batch), "4 weights, 3 starts");
}

TEST(GroupFold, IsTheBalancedTree) {
  ThreadPool pool(1);
  Stream stream;
  stream.pool = &pool;
  // Values whose float sum depends on the order.
  const std::vector<float> groups = {1e8F, 1.0F, -1e8F, 3.0F, 0.1F, 1e7F, -7.5F, 2e-3F};
  GroupFold fold(1, 8);
  float gradient = 0.0F;
  for (const float group : groups) {
    EXPECT_EQ(gradient, 0.0F);
    gradient = group;
    fold.finish_group(stream, &gradient);
  }
  const auto& g = groups;
  EXPECT_EQ(gradient, ((g[0] + g[1]) + (g[2] + g[3])) + ((g[4] + g[5]) + (g[6] + g[7])));
  EXPECT_NE(gradient, ((((((g[0] + g[1]) + g[2]) + g[3]) + g[4]) + g[5]) + g[6]) + g[7]);
  EXPECT_EQ(fold.bytes(), 3 * 4);
}

TEST(TokenSums, FoldIntoTheGradientAsATree) {
  TokenSums sums(4);
  const std::size_t number = sums.add(2, 1);
  sums.allocate();
  const std::vector<float> chunks = {1e8F, 1.0F, -1e8F, 3.0F};
  std::copy(chunks.begin(), chunks.end(), sums.view(number).data);
  std::vector<float> gradients(3, 0.0F);
  sums.fold(gradients.data());
  EXPECT_EQ(gradients[2], (chunks[0] + chunks[1]) + (chunks[2] + chunks[3]));
  EXPECT_EQ(sums.view(number).data[0], 0.0F);
}

TEST(LearningRate, WarmsUpThenDecaysToTheMinimum) {
  const LearningRateSchedule s = {1.0, 0.1, 10, 110, "cosine"};
  EXPECT_DOUBLE_EQ(learning_rate(s, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 9), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(s, 10), 1.0);
  EXPECT_NEAR(learning_rate(s, 60), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(s, 110), 0.1, 1e-12);
  EXPECT_NEAR(learning_rate(s, 5000), 0.1, 1e-12);
  EXPECT_NEAR(learning_rate({1.0, 0.0, 0, 100, "linear"}, 25), 0.75, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate({1.0, 0.0, 0, 100, "constant"}, 99), 1.0);
}

TEST(Zero, PiecesCoverEveryElementOnce) {
  const std::vector<parallel::FlatBlock> blocks = {{0, 7, 3}, {32, 1, 5}, {48, 16, 1}};
  for (const int ranks : {1, 2, 3, 5}) {
    std::vector<int> owners(64, 0);
    for (int rank = 0; rank < ranks; ++rank) {
      for (const parallel::Piece& piece : parallel::owned_pieces(blocks, ranks, rank)) {
        for (std::int64_t i = 0; i < piece.count(); ++i)
          ++owners[static_cast<std::size_t>(piece.offset + i)];
      }
    }
    for (const parallel::FlatBlock& block : blocks) {
      for (std::int64_t i = 0; i < block.rows * block.cols; ++i) {
        EXPECT_EQ(owners[static_cast<std::size_t>(block.offset + i)], 1);
      }
    }
  }
}

TEST(Zero, ReduceScatterThenGatherIsAllReduce) {
  const std::vector<parallel::FlatBlock> blocks = {
      {0, 7, 3}, {32, 1, 5}, {48, 16, 1}, {64, 3000000, 2}};
  const std::size_t count = 64 + 6000000;
  for (const int ranks : {1, 2, 3}) {
    parallel::run_ranks(ranks, [&](int rank, parallel::Communicator& comm) {
      std::vector<float> flat(count);
      for (std::size_t i = 0; i < count; ++i) {
        flat[i] = std::sin(static_cast<float>(i % 1000)) * static_cast<float>(rank + 1);
      }
      std::vector<float> expected = flat;
      comm.all_reduce_sum(std::span(expected));
      parallel::ShardExchange exchange(comm, blocks);
      const std::uint64_t before = comm.counters().bytes_sent;
      exchange.reduce_scatter(flat.data());
      EXPECT_EQ(static_cast<std::int64_t>(comm.counters().bytes_sent - before),
                exchange.bytes_sent_per_call());
      exchange.all_gather(flat.data());
      for (const parallel::FlatBlock& block : blocks) {
        for (std::int64_t i = 0; i < block.rows * block.cols; ++i) {
          const auto at = static_cast<std::size_t>(block.offset + i);
          ASSERT_EQ(flat[at], expected[at]) << at;
        }
      }
    });
  }
}

}  // namespace
}  // namespace talaria::model
