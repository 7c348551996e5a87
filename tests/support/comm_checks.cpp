// SPDX-License-Identifier: Apache-2.0
#include "tests/support/comm_checks.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "tests/support/comm_check_data.h"

namespace talaria::parallel {
namespace {

// Awkward for n ranks: nothing, less than a chunk each, odd, and beyond any staging (1 MiB).
std::vector<std::int64_t> awkward_counts(int n) {
  return {0, 1, n - 1, n, n + 1, 7, 1023, 4097, 30011, 300007};
}

template <class T>
void expect_sums(const std::vector<T>& got, std::uint64_t seed, int n, std::int64_t first,
                 const char* what) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const T want = expected_sum<T>(seed, n, first + static_cast<std::int64_t>(i));
    if (same_bits(got[i], want)) continue;
    ADD_FAILURE() << what << ": " << got.size() << " elements, index " << i << ": " << got[i]
                  << ", want " << want;
    return;
  }
}

template <class T>
void reduce_and_expect(Communicator& comm, std::uint64_t seed, std::int64_t count) {
  std::vector<T> data = check_vector<T>(seed, comm.rank(), count);
  comm.all_reduce_sum(std::span<T>(data));
  expect_sums(data, seed, comm.size(), 0, "all_reduce_sum");
}

void scatter_and_expect(Communicator& comm, std::uint64_t seed, std::int64_t chunk) {
  std::vector<float> data = check_vector<float>(seed, comm.rank(), chunk * comm.size());
  comm.reduce_scatter_sum(data);
  const std::int64_t first = chunk * comm.rank();
  const std::vector<float> own(data.begin() + first, data.begin() + first + chunk);
  expect_sums(own, seed, comm.size(), first, "reduce_scatter_sum");
}

void gather_and_expect(Communicator& comm, std::uint64_t seed, std::int64_t chunk) {
  std::vector<std::byte> data(static_cast<std::size_t>(chunk * comm.size()));
  std::vector<std::byte> want;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const std::vector<std::byte> part = check_bytes(seed, rank, chunk);
    want.insert(want.end(), part.begin(), part.end());
    if (rank == comm.rank()) std::copy(part.begin(), part.end(), data.begin() + rank * chunk);
  }
  comm.all_gather(data);
  EXPECT_TRUE(same_bytes(data, want)) << "all_gather of chunks of " << chunk;
}

void broadcast_and_expect(Communicator& comm, std::uint64_t seed, std::int64_t bytes, int root) {
  std::vector<std::byte> data(static_cast<std::size_t>(bytes));
  const std::vector<std::byte> want = check_bytes(seed, root, bytes);
  if (comm.rank() == root) data = want;
  comm.broadcast(data, root);
  EXPECT_TRUE(same_bytes(data, want)) << "broadcast of " << bytes << " from " << root;
}

// Everyone sends to the next rank and receives from the one before.
void shift_and_expect(Communicator& comm, std::uint64_t seed, std::int64_t bytes) {
  const int n = comm.size();
  if (n == 1) return;
  const int next = (comm.rank() + 1) % n;
  const int previous = (comm.rank() + n - 1) % n;
  comm.send(check_bytes(seed, comm.rank(), bytes), next);
  std::vector<std::byte> got(static_cast<std::size_t>(bytes));
  comm.recv(got, previous);
  EXPECT_TRUE(same_bytes(got, check_bytes(seed, previous, bytes))) << bytes << " bytes";
}

template <class T>
void check_all_reduce(Communicator& comm) {
  for (const std::int64_t count : awkward_counts(comm.size())) {
    reduce_and_expect<T>(comm, 11 + static_cast<std::uint64_t>(count), count);
  }
}

void check_specials(Communicator& comm) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const int n = comm.size();
  // What each rank holds at each index.
  const auto value = [n](int rank, int index) -> float {
    switch (index) {
      case 0:
        return -0.0F;  // all -0: -0
      case 1:
        return rank == n - 1 ? kNan : 1.0F;  // one NaN: NaN
      case 2:
        return rank == 0 ? kInf : -1.0F;  // inf
      case 3:
        return rank % 2 == 0 ? kInf : -kInf;  // inf - inf: NaN
      case 4:
        return rank == 0 ? 0.0F : -0.0F;  // +0
      case 5:
        return std::numeric_limits<float>::denorm_min();  // denormals add exactly
      default:
        return std::numeric_limits<float>::max();  // overflow: inf
    }
  };
  // Once small and once beyond the size from which ranks sum chunks.
  for (const int repeats : {1, 3001}) {
    std::vector<float> data(static_cast<std::size_t>(7 * repeats));
    for (int i = 0; i < 7 * repeats; ++i) {
      data[static_cast<std::size_t>(i)] = value(comm.rank(), i % 7);
    }
    comm.all_reduce_sum(std::span<float>(data));
    for (int i = 0; i < 7 * repeats; ++i) {
      std::vector<float> values(static_cast<std::size_t>(n));
      for (int rank = 0; rank < n; ++rank)
        values[static_cast<std::size_t>(rank)] = value(rank, i % 7);
      const float want = serial_tree(values.data(), n);
      const float got = data[static_cast<std::size_t>(i)];
      ASSERT_TRUE(same_bits(got, want)) << "index " << i << ": " << got << ", want " << want;
    }
  }
}

void check_reduce_scatter(Communicator& comm) {
  for (const std::int64_t chunk : {0, 1, 3, 1024, 140003}) {
    scatter_and_expect(comm, 21 + static_cast<std::uint64_t>(chunk), chunk);
  }
}

void check_all_gather(Communicator& comm) {
  for (const std::int64_t chunk : {0, 1, 5, 4096, 1200007}) {
    gather_and_expect(comm, 31 + static_cast<std::uint64_t>(chunk), chunk);
  }
}

void check_broadcast(Communicator& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    for (const std::int64_t bytes : {0, 1, 4097}) broadcast_and_expect(comm, 41, bytes, root);
  }
  broadcast_and_expect(comm, 42, 3000001, comm.size() - 1);
}

// 10 MB in both directions between neighbours at once, sends first.
void check_large_messages(Communicator& comm) {
  if (comm.size() == 1) return;
  constexpr std::int64_t kBytes = 10'000'000;
  const int n = comm.size();
  const int peers[2] = {(comm.rank() + 1) % n, (comm.rank() + n - 1) % n};
  const std::vector<std::byte> own = check_bytes(51, comm.rank(), kBytes);
  const std::vector<std::byte> want[2] = {check_bytes(51, peers[0], kBytes),
                                          check_bytes(51, peers[1], kBytes)};
  std::vector<std::byte> got(own.size());
  for (int round = 0; round < 2; ++round) {
    for (const int peer : peers) {
      comm.send(own, peer);
      if (n == 2) break;
    }
    for (int i = 0; i < 2; ++i) {
      comm.recv(got, peers[i]);
      EXPECT_TRUE(same_bytes(got, want[i])) << "from " << peers[i];
      if (n == 2) break;
    }
  }
}

// kSendDepth messages to every peer, of growing size, before anyone receives; they come in order.
void check_send_depth(Communicator& comm) {
  const auto message = [](int from, int to, int index) {
    return check_bytes(60 + static_cast<std::uint64_t>(100 * to + index), from,
                       index * 300'000 + 8);
  };
  const int n = comm.size();
  for (int to = 0; to < n; ++to) {
    if (to == comm.rank()) continue;
    for (int i = 0; i < kSendDepth; ++i) comm.send(message(comm.rank(), to, i), to);
  }
  comm.barrier();
  for (int from = n - 1; from >= 0; --from) {
    if (from == comm.rank()) continue;
    for (int i = 0; i < kSendDepth; ++i) {
      const std::vector<std::byte> want = message(from, comm.rank(), i);
      std::vector<std::byte> got(want.size());
      comm.recv(got, from);
      EXPECT_TRUE(same_bytes(got, want)) << "message " << i << " from " << from;
    }
  }
}

void check_counters(Communicator& comm) {
  const auto n = static_cast<std::uint64_t>(comm.size());
  const auto rank = static_cast<std::uint64_t>(comm.rank());
  const auto sent = [&comm](auto&& call) {
    const CommCounters before = comm.counters();
    call();
    EXPECT_EQ(comm.counters().calls, before.calls + 1);
    return comm.counters().bytes_sent - before.bytes_sent;
  };
  for (const std::uint64_t count : {0ULL, 1ULL, 10ULL, 1001ULL}) {
    const std::uint64_t chunk = (count + n - 1) / n;
    const std::uint64_t begin = std::min(count, chunk * rank);
    const std::uint64_t own = std::min(count, begin + chunk) - begin;
    const std::uint64_t elements = n == 1 ? 0 : (count - own) + own * (n - 1);
    std::vector<float> f(count, 1.0F);
    std::vector<double> d(count, 1.0);
    std::vector<std::int64_t> i(count, 1);
    EXPECT_EQ(sent([&] { comm.all_reduce_sum(std::span<float>(f)); }), 4 * elements);
    EXPECT_EQ(sent([&] { comm.all_reduce_sum(std::span<double>(d)); }), 8 * elements);
    EXPECT_EQ(sent([&] { comm.all_reduce_sum(std::span<std::int64_t>(i)); }), 8 * elements);
    std::vector<float> chunks(count * n);
    EXPECT_EQ(sent([&] { comm.reduce_scatter_sum(chunks); }), 4 * count * (n - 1));
    std::vector<std::byte> bytes(count * n);
    EXPECT_EQ(sent([&] { comm.all_gather(bytes); }), count * (n - 1));
    EXPECT_EQ(sent([&] { comm.broadcast(bytes, 0); }), rank == 0 ? count * n * (n - 1) : 0);
    EXPECT_EQ(sent([&] { comm.barrier(); }), 0U);
    if (n == 1) continue;
    const int next = static_cast<int>((rank + 1) % n);
    const int previous = static_cast<int>((rank + n - 1) % n);
    EXPECT_EQ(sent([&] { comm.send(bytes, next); }), bytes.size());
    EXPECT_EQ(sent([&] { comm.recv(bytes, previous); }), 0U);
  }
}

// A seeded sequence of all operations, the same on all ranks, without barriers between.
void check_mixture(Communicator& comm) {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    std::mt19937_64 random(seed);
    for (int step = 0; step < 50; ++step) {
      const std::uint64_t key = random();
      const auto size = static_cast<std::int64_t>(random() >> (45 + random() % 19));
      const int root = static_cast<int>(random() % static_cast<std::uint64_t>(comm.size()));
      switch (random() % 8) {
        case 0:
          reduce_and_expect<float>(comm, key, size / 4);
          break;
        case 1:
          reduce_and_expect<double>(comm, key, size / 8);
          break;
        case 2:
          reduce_and_expect<std::int64_t>(comm, key, size / 8);
          break;
        case 3:
          scatter_and_expect(comm, key, size / 8);
          break;
        case 4:
          gather_and_expect(comm, key, size / 2);
          break;
        case 5:
          broadcast_and_expect(comm, key, size, root);
          break;
        case 6:
          shift_and_expect(comm, key, size);
          break;
        default:
          comm.barrier();
          break;
      }
    }
  }
}

void check_bad_peers(Communicator& comm) {
  std::vector<std::byte> data(4);
  for (const int peer : {-1, comm.size(), comm.rank()}) {
    EXPECT_THROW(comm.send(data, peer), Error) << peer;
    EXPECT_THROW(comm.recv(data, peer), Error) << peer;
  }
  EXPECT_THROW(comm.broadcast(data, comm.size()), Error);
  EXPECT_THROW(comm.broadcast(data, -1), Error);
  if (comm.size() == 1) return;
  std::vector<float> uneven(static_cast<std::size_t>(comm.size()) + 1);
  EXPECT_THROW(comm.reduce_scatter_sum(uneven), Error);
  EXPECT_THROW(comm.all_gather(std::as_writable_bytes(std::span(data)).first(1)), Error);
}

void check_short_message(Communicator& comm) {
  if (comm.size() == 1) return;
  std::vector<std::byte> data(12);
  if (comm.rank() == 0) comm.send(std::span(data).first(8), 1);
  if (comm.rank() == 1) {
    EXPECT_THROW(comm.recv(data, 0), Error);
  }
}

void check_long_message(Communicator& comm) {
  if (comm.size() == 1) return;
  std::vector<std::byte> data(100'000);
  if (comm.rank() == 0) comm.send(data, 1);
  if (comm.rank() == 1) {
    EXPECT_THROW(comm.recv(std::span(data).first(10), 0), Error);
  }
}

}  // namespace

const std::vector<CommCheck>& comm_checks() {
  static const std::vector<CommCheck> checks = {
      {"all_reduce_float", check_all_reduce<float>},
      {"all_reduce_double", check_all_reduce<double>},
      {"all_reduce_int64", check_all_reduce<std::int64_t>},
      {"specials", check_specials},
      {"reduce_scatter", check_reduce_scatter},
      {"all_gather", check_all_gather},
      {"broadcast", check_broadcast},
      {"large_messages", check_large_messages},
      {"send_depth", check_send_depth},
      {"counters", check_counters},
      {"mixture", check_mixture},
      {"bad_peers", check_bad_peers},
      {"short_message", check_short_message, true},
      {"long_message", check_long_message, true},
  };
  return checks;
}

}  // namespace talaria::parallel
