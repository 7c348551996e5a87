// SPDX-License-Identifier: Apache-2.0
// Collectives over one group of ranks, in MPI's words. One virtual call a collective. Every sum is
// a balanced binary tree over the group's ranks in rank order, ((0+1)+(2+3))+..., whatever the
// transport, so all transports give the same bits (docs/numerics.md). All members must call the
// same collectives in the same order with the same sizes. A transport that fails throws Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace talaria::parallel {

// What this rank has sent into the group, by the closed formulas below (payload bytes, no headers).
struct CommCounters {
  std::uint64_t calls = 0;
  std::uint64_t bytes_sent = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // "single", "local", "shm", "mpi", "hierarchical", "nccl".
  virtual std::string transport() const = 0;

  // data[i] = tree sum of all ranks' data[i]. Collective. n ranks, S bytes: each sends the n - 1
  // foreign chunks of its data and its own summed chunk to n - 1 peers; with chunks of
  // ceil(count / n) elements (the last ones may be short or empty).
  virtual void all_reduce_sum(std::span<float> data) = 0;
  virtual void all_reduce_sum(std::span<double> data) = 0;
  // Exact integer sum modulo 2^64. Collective.
  virtual void all_reduce_sum(std::span<std::int64_t> data) = 0;

  // `data` is size() equal chunks; on return chunk rank() holds the tree sum of that chunk over all
  // ranks, the other chunks are unspecified. data.size() is a multiple of size(). Collective. Each
  // rank sends (n - 1) chunks.
  virtual void reduce_scatter_sum(std::span<float> data) = 0;

  // `data` is size() equal chunks of bytes, chunk rank() filled by the caller; on return all chunks
  // are filled. Collective. Each rank sends its chunk (n - 1) times.
  virtual void all_gather(std::span<std::byte> data) = 0;

  // Collective. The root sends (n - 1) times the data.
  virtual void broadcast(std::span<std::byte> data, int root) = 0;

  // Point to point, in order per (sender, receiver). `send` copies `data` and returns without
  // waiting for the receiver as long as fewer than kSendDepth messages to it are unread; `recv`
  // waits. The sizes of both sides must agree, else Error.
  virtual void send(std::span<const std::byte> data, int to) = 0;
  virtual void recv(std::span<std::byte> data, int from) = 0;

  virtual void barrier() = 0;

  // Not collective: a rank that fails calls it before it leaves, so that the others do not wait for
  // it: local and shm make their present and future waits throw Error within a fraction of a
  // second; mpi and what is built on it end the whole job (MPI_Abort, exit code 1).
  virtual void abort() noexcept {}

  virtual const CommCounters& counters() const { return counters_; }

 protected:
  Communicator() = default;
  void count_call(std::uint64_t bytes_sent) {
    ++counters_.calls;
    counters_.bytes_sent += bytes_sent;
  }

 private:
  CommCounters counters_;
};

// How many unread messages to one peer a transport must buffer (docs/architecture.md proves that
// every schedule runs with 1).
inline constexpr int kSendDepth = 2;

// The group of one: sums and gathers are the identity.
std::unique_ptr<Communicator> make_single_communicator();

}  // namespace talaria::parallel
