// SPDX-License-Identifier: Apache-2.0
// The suite over ranks as threads, and what is special to groups in shared memory. It runs the very
// protocol of the shm transport, so a thread sanitizer sees it here.
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "parallel/comm/tree.h"
#include "tests/support/comm_check_data.h"
#include "tests/support/comm_checks.h"
#include "tests/support/run_ranks.h"

namespace talaria::parallel {
namespace {

using testing::HasSubstr;

class LocalComm : public testing::TestWithParam<std::tuple<int, CommCheck>> {};

TEST_P(LocalComm, Passes) {
  const auto& [n, check] = GetParam();
  for (const std::int64_t staging : {std::int64_t{4096}, std::int64_t{1} << 20}) {
    SharedOptions options;
    options.staging_bytes = staging;
    run_ranks(
        n, [&check = check](int, Communicator& comm) { check.run(comm); }, 100, options);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LocalComm,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5, 8),
                                          testing::ValuesIn(comm_checks())),
                         [](const auto& test) {
                           return std::string(std::get<1>(test.param).name) + "_" +
                                  std::to_string(std::get<0>(test.param));
                         });

std::string error_of(int n, const std::function<void(int, Communicator&)>& fn,
                     const SharedOptions& options = {}) {
  try {
    run_ranks(n, fn, 60, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(RunRanks, RethrowsTheFirstExceptionAndWakesTheOthers) {
  const double start = monotonic_seconds();
  EXPECT_EQ(error_of(4,
                     [](int rank, Communicator& comm) {
                       if (rank == 2) {
                         std::this_thread::sleep_for(std::chrono::milliseconds(50));
                         fail("rank 2 is gone");
                       }
                       std::vector<std::byte> data(4);
                       if (rank == 0) comm.recv(data, 1);
                       comm.barrier();
                     }),
            "rank 2 is gone");
  EXPECT_LT(monotonic_seconds() - start, 5);
}

TEST(RunRanksDeathTest, AWatchdogNamesTheRanksThatHang) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run_ranks(
                   3,
                   [](int rank, Communicator& comm) {
                     if (rank != 1) comm.barrier();
                   },
                   0.3),
               "after 0.3 s these of 3 ranks have not returned: 0 2");
}

TEST(LocalGroup, ACallThatDiffersIsAnErrorOnEveryRank) {
  std::array<std::string, 3> errors;
  run_ranks(3, [&](int rank, Communicator& comm) {
    std::vector<float> data(rank == 2 ? 5 : 4);
    try {
      comm.all_reduce_sum(std::span<float>(data));
    } catch (const Error& error) {
      errors[static_cast<std::size_t>(rank)] = error.what();
    }
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, HasSubstr("rank 0 all_reduce_sum(float) of 16 bytes"));
    EXPECT_THAT(error, HasSubstr("rank 2 all_reduce_sum(float) of 20 bytes"));
  }
  EXPECT_THAT(error_of(2,
                       [](int rank, Communicator& comm) {
                         std::vector<std::byte> data(4);
                         if (rank == 0) comm.broadcast(data, 0);
                         if (rank == 1) comm.all_gather(data);
                       }),
              HasSubstr("rank 0 broadcast of 4 bytes (root 0), rank 1 all_gather of 4 bytes"));
}

TEST(LocalGroup, AMessageBeyondTheLimitIsAnError) {
  SharedOptions options;
  options.max_message_bytes = 4096;
  EXPECT_THAT(error_of(
                  2,
                  [](int rank, Communicator& comm) {
                    const std::vector<std::byte> data(4097);
                    if (rank == 0) comm.send(data, 1);
                  },
                  options),
              HasSubstr("at most 4096 bytes (max_message_bytes)"));
}

TEST(LocalGroup, TheSenderWaitsOnlyForAFullMailbox) {
  std::atomic<int> sent = 0;
  run_ranks(2, [&](int rank, Communicator& comm) {
    std::vector<std::byte> data(16);
    if (rank == 0) {
      for (int i = 0; i <= kSendDepth; ++i) {
        comm.send(data, 1);
        ++sent;
      }
    } else {
      while (sent < kSendDepth) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      EXPECT_EQ(sent, kSendDepth);
      for (int i = 0; i <= kSendDepth; ++i) comm.recv(data, 0);
    }
  });
  EXPECT_EQ(sent, kSendDepth + 1);
}

TEST(LocalGroup, TooSmallAStagingIsAnError) {
  SharedOptions options;
  options.staging_bytes = 8;
  EXPECT_THROW(make_local_communicators(2, options), Error);
}

TEST(Tree, SplitsAtTheLargestPowerOfTwoBelow) {
  EXPECT_EQ(tree_split(2), 1);
  EXPECT_EQ(tree_split(3), 2);
  EXPECT_EQ(tree_split(4), 2);
  EXPECT_EQ(tree_split(5), 4);
  EXPECT_EQ(tree_split(8), 4);
  EXPECT_EQ(tree_split(9), 8);
}

TEST(Tree, TheOrderOfAdditionsShowsInTheBits) {
  // Were it not so, the suite could not tell a tree from a chain.
  int differ = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    float chain = 0;
    for (int rank = 0; rank < 8; ++rank) chain += check_value<float>(1, rank, i);
    if (!same_bits(chain, expected_sum<float>(1, 8, i))) ++differ;
  }
  EXPECT_GT(differ, 100);
}

TEST(Tree, SumsInPlaceOverAnySourceAndAnyLength) {
  for (int n = 1; n <= 17; ++n) {
    for (int target = -1; target < n; ++target) {
      constexpr std::int64_t kCount = 2049;
      std::vector<std::vector<float>> data;
      std::vector<const float*> sources;
      for (int rank = 0; rank < n; ++rank) data.push_back(check_vector<float>(7, rank, kCount));
      for (const std::vector<float>& values : data) sources.push_back(values.data());
      std::vector<float> fresh(kCount);
      float* out = target < 0 ? fresh.data() : data[static_cast<std::size_t>(target)].data();
      tree_sum<float>(sources, out, kCount);
      for (std::int64_t i = 0; i < kCount; ++i) {
        ASSERT_TRUE(same_bits(out[i], expected_sum<float>(7, n, i))) << n << " " << target;
      }
    }
  }
}

}  // namespace
}  // namespace talaria::parallel
