// SPDX-License-Identifier: Apache-2.0
// A watched communicator passes the suite of every transport, counts what it counts, and tells what
// its rank waits in.
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "tests/support/comm_checks.h"
#include "tests/support/run_ranks.h"
#include "worker/watched_communicator.h"

namespace talaria::worker {
namespace {

using parallel::CommCheck;
using parallel::Communicator;
using wire::RankStatus;
using wire::Wait;

// Runs `fn` on n ranks as threads, each with a watched end of one group and its status.
void run_watched(int n, const std::function<void(int rank, Communicator&, RankStatus&)>& fn) {
  std::vector<std::unique_ptr<Communicator>> ends = parallel::make_local_communicators(n, {});
  std::vector<RankStatus> statuses(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < ends.size(); ++i) ends[i] = watched(std::move(ends[i]), statuses[i]);
  parallel::run_ranks(
      n,
      [&](int rank, Communicator&) {
        const auto at = static_cast<std::size_t>(rank);
        try {
          fn(rank, *ends[at], statuses[at]);
        } catch (...) {
          ends[at]->abort();
          throw;
        }
        EXPECT_EQ(statuses[at].wait, static_cast<std::int32_t>(Wait::kNone));
      },
      100);
}

class Watched : public testing::TestWithParam<CommCheck> {};

TEST_P(Watched, Passes) {
  const CommCheck check = GetParam();
  if (check.breaks_group) return;
  for (const int n : {1, 3, 4}) {
    run_watched(n, [&](int, Communicator& comm, RankStatus&) { check.run(comm); });
  }
}

INSTANTIATE_TEST_SUITE_P(All, Watched, testing::ValuesIn(parallel::comm_checks()),
                         [](const auto& test) { return std::string(test.param.name); });

// Rank 0 calls, rank 1 looks at what rank 0 waits in and then comes too.
void expect_wait(Wait wait, const std::function<void(Communicator&)>& first,
                 const std::function<void(Communicator&)>& second) {
  std::atomic<RankStatus*> first_status = nullptr;
  run_watched(2, [&](int rank, Communicator& comm, RankStatus& status) {
    if (rank == 0) {
      first_status = &status;
      first(comm);
      return;
    }
    const double deadline = monotonic_seconds() + 20.0;
    const auto waits = [&] {
      return first_status != nullptr &&
             first_status.load()->wait == static_cast<std::int32_t>(wait);
    };
    while (!waits() && monotonic_seconds() < deadline) std::this_thread::yield();
    EXPECT_TRUE(waits()) << wire::wait_name(wait);
    EXPECT_EQ(status.wait, static_cast<std::int32_t>(Wait::kNone));
    second(comm);
  });
}

TEST(WatchedCommunicator, TellsWhatItWaitsIn) {
  const auto both = [](Wait wait, const std::function<void(Communicator&)>& call) {
    expect_wait(wait, call, call);
  };
  both(Wait::kAllReduce, [](Communicator& comm) {
    std::array<float, 4> data{};
    comm.all_reduce_sum(std::span<float>(data));
  });
  both(Wait::kAllReduce, [](Communicator& comm) {
    std::array<double, 4> data{};
    comm.all_reduce_sum(std::span<double>(data));
  });
  both(Wait::kAllReduce, [](Communicator& comm) {
    std::array<std::int64_t, 4> data{};
    comm.all_reduce_sum(std::span<std::int64_t>(data));
  });
  both(Wait::kReduceScatter, [](Communicator& comm) {
    std::array<float, 4> data{};
    comm.reduce_scatter_sum(data);
  });
  both(Wait::kAllGather, [](Communicator& comm) {
    std::array<std::byte, 8> data{};
    comm.all_gather(data);
  });
  both(Wait::kBroadcast, [](Communicator& comm) {
    std::array<std::byte, 8> data{};
    comm.broadcast(data, 1);
  });
  both(Wait::kBarrier, [](Communicator& comm) { comm.barrier(); });
  const auto receive = [](Communicator& comm) {
    std::array<std::byte, 8> data{};
    comm.recv(data, 1 - comm.rank());
  };
  const auto send = [](Communicator& comm) {
    const std::array<std::byte, 8> data{};
    comm.send(data, 1 - comm.rank());
  };
  expect_wait(Wait::kReceive, receive, send);
  const auto repeated = [](const std::function<void(Communicator&)>& call) {
    return [call](Communicator& comm) {
      for (int i = 0; i <= parallel::kSendDepth; ++i) call(comm);
    };
  };
  expect_wait(Wait::kSend, repeated(send), repeated(receive));
}

TEST(WatchedCommunicator, CountsWhatItsGroupCounts) {
  run_watched(2, [](int, Communicator& comm, RankStatus&) {
    std::vector<float> data(10);
    comm.all_reduce_sum(std::span<float>(data));
    EXPECT_EQ(comm.counters().calls, 1U);
    EXPECT_EQ(comm.counters().bytes_sent, 40U);
  });
}

TEST(WatchedCommunicator, AnErrorEndsTheWait) {
  run_watched(2, [](int, Communicator& comm, RankStatus& status) {
    std::vector<std::byte> data(4);
    EXPECT_THROW(comm.broadcast(data, 7), Error);
    EXPECT_EQ(status.wait, static_cast<std::int32_t>(Wait::kNone));
  });
}

TEST(WatchedCommunicator, AGroupOfOneIsLeftAsItIs) {
  RankStatus status;
  auto single = parallel::make_single_communicator();
  const Communicator* before = single.get();
  EXPECT_EQ(watched(std::move(single), status).get(), before);
}

}  // namespace
}  // namespace talaria::worker
