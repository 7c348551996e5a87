// SPDX-License-Identifier: Apache-2.0
// One protocol for ranks that share memory: "local" (threads) and "shm" (processes of one node).
// Collectives go in pieces through two staging halves: while ranks still read one half, the next
// piece is written into the other, and a rank that passed a barrier knows that all ranks are done
// with the half before. Waits sleep in the kernel and never spin.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/shared_segment.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

// Called while a rank sleeps: drives what this process still has under way elsewhere (MPI sends
// need their sender's help). Returns whether anything is still under way.
using ProgressPoll = std::function<bool()>;

class SharedCommunicator final : public Communicator {
 public:
  // `transport` is "local" or "shm". `poll` may be empty.
  SharedCommunicator(std::shared_ptr<SharedSegment> segment, int rank, std::string transport,
                     ProgressPoll poll);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return transport_; }

  void all_reduce_sum(std::span<float> data) override { all_reduce(data, kAllReduceFloat); }
  void all_reduce_sum(std::span<double> data) override { all_reduce(data, kAllReduceDouble); }
  void all_reduce_sum(std::span<std::int64_t> data) override { all_reduce(data, kAllReduceInt); }
  void reduce_scatter_sum(std::span<float> data) override;
  void all_gather(std::span<std::byte> data) override;
  void broadcast(std::span<std::byte> data, int root) override;
  // Throws Error when data is larger than max_message_bytes.
  void send(std::span<const std::byte> data, int to) override;
  // After a size mismatch the message is still unread.
  void recv(std::span<std::byte> data, int from) override;
  void barrier() override;
  void abort() noexcept override;

 private:
  enum Operation : std::int32_t {
    kAllReduceFloat,
    kAllReduceDouble,
    kAllReduceInt,
    kReduceScatter,
    kAllGather,
    kBroadcast,
    kBarrier,
  };
  static const char* name_of(std::int32_t operation);

  template <class T>
  void all_reduce(std::span<T> data, Operation operation);

  // Waits until all ranks are here. With a call, throws Error on every rank when they differ.
  void meet();
  void meet_and_compare(const SharedCall& call);
  // meet_and_compare for the first piece of a collective, meet for the others.
  void meet_for_piece(std::int64_t begin, const SharedCall& call);
  // Sleeps until ready(word).
  template <class Ready>
  void wait(const FutexWord& word, const char* what, Ready ready);

  // This rank's part of the current staging half, at least `bytes` of it backed by memory.
  std::byte* own_staging(std::int64_t bytes);
  template <class T>
  T* staged(int rank) const {
    return reinterpret_cast<T*>(segment_->staging(half_, rank));
  }
  void next_half() { half_ = 1 - half_; }
  void check_peer(int peer, const char* call) const;
  std::string who() const;

  std::shared_ptr<SharedSegment> segment_;
  int rank_;
  int size_;
  std::string transport_;
  ProgressPoll poll_;
  int half_ = 0;
  std::int64_t staging_reserved_[2] = {0, 0};
  std::vector<std::int64_t> message_reserved_;  // [to][slot]
};

}  // namespace talaria::parallel
