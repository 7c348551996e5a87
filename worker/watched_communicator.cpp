// SPDX-License-Identifier: Apache-2.0
#include "worker/watched_communicator.h"

#include <utility>

namespace talaria::worker {
namespace {

using wire::Wait;

// Relaxed: the value stands for itself, and nothing else is published with it.
class Waiting {
 public:
  Waiting(wire::RankStatus& status, Wait wait) : wait_(status.wait) {
    wait_.store(static_cast<std::int32_t>(wait), std::memory_order_relaxed);
  }
  ~Waiting() { wait_.store(static_cast<std::int32_t>(Wait::kNone), std::memory_order_relaxed); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  std::atomic<std::int32_t>& wait_;
};

class WatchedCommunicator final : public parallel::Communicator {
 public:
  WatchedCommunicator(std::unique_ptr<parallel::Communicator> group, wire::RankStatus& status)
      : group_(std::move(group)), status_(status) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  std::string transport() const override { return group_->transport(); }
  const parallel::CommCounters& counters() const override { return group_->counters(); }

  void all_reduce_sum(std::span<float> data) override {
    const Waiting waiting(status_, Wait::kAllReduce);
    group_->all_reduce_sum(data);
  }
  void all_reduce_sum(std::span<double> data) override {
    const Waiting waiting(status_, Wait::kAllReduce);
    group_->all_reduce_sum(data);
  }
  void all_reduce_sum(std::span<std::int64_t> data) override {
    const Waiting waiting(status_, Wait::kAllReduce);
    group_->all_reduce_sum(data);
  }
  void reduce_scatter_sum(std::span<float> data) override {
    const Waiting waiting(status_, Wait::kReduceScatter);
    group_->reduce_scatter_sum(data);
  }
  void all_gather(std::span<std::byte> data) override {
    const Waiting waiting(status_, Wait::kAllGather);
    group_->all_gather(data);
  }
  void broadcast(std::span<std::byte> data, int root) override {
    const Waiting waiting(status_, Wait::kBroadcast);
    group_->broadcast(data, root);
  }
  void send(std::span<const std::byte> data, int to) override {
    const Waiting waiting(status_, Wait::kSend);
    group_->send(data, to);
  }
  void recv(std::span<std::byte> data, int from) override {
    const Waiting waiting(status_, Wait::kReceive);
    group_->recv(data, from);
  }
  void barrier() override {
    const Waiting waiting(status_, Wait::kBarrier);
    group_->barrier();
  }
  void abort() noexcept override { group_->abort(); }

 private:
  std::unique_ptr<parallel::Communicator> group_;
  wire::RankStatus& status_;
};

}  // namespace

std::unique_ptr<parallel::Communicator> watched(std::unique_ptr<parallel::Communicator> group,
                                                wire::RankStatus& status) {
  if (group->size() == 1) return group;
  return std::make_unique<WatchedCommunicator>(std::move(group), status);
}

}  // namespace talaria::worker
