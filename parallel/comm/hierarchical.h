// SPDX-License-Identifier: Apache-2.0
// A group over several nodes, each holding an equal block of consecutive ranks: inside a node
// through shared memory, between nodes by MPI among the ranks of the same position, so that every
// rank carries 1/block of the traffic between nodes. With blocks of a power of two the tree over
// all ranks is exactly the tree over nodes of the trees inside them, hence the same bits.
#pragma once

#include <memory>
#include <vector>

#include "parallel/communicator.h"

namespace talaria::parallel {

// node: this node's `block` ranks; peers: the ranks of this position, by node; whole: all ranks,
// for messages between nodes. Rank = node x block + position.
struct HierarchicalParts {
  std::unique_ptr<Communicator> node;
  std::unique_ptr<Communicator> peers;
  std::unique_ptr<Communicator> whole;
};

class HierarchicalCommunicator final : public Communicator {
 public:
  explicit HierarchicalCommunicator(HierarchicalParts parts);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "hierarchical"; }

  void all_reduce_sum(std::span<float> data) override;
  // Scalars and short vectors in practice: every position reduces all of it between nodes.
  void all_reduce_sum(std::span<double> data) override { all_reduce_whole(data); }
  void all_reduce_sum(std::span<std::int64_t> data) override { all_reduce_whole(data); }
  void reduce_scatter_sum(std::span<float> data) override;
  void all_gather(std::span<std::byte> data) override;
  void broadcast(std::span<std::byte> data, int root) override;
  void send(std::span<const std::byte> data, int to) override;
  void recv(std::span<std::byte> data, int from) override;
  void barrier() override;
  void abort() noexcept override;

 private:
  template <class T>
  void all_reduce_whole(std::span<T> data);
  // `data` is equal chunks, one for each position.
  void all_reduce_chunks(std::span<float> data);
  int node_of(int rank) const { return rank / block_; }
  int position_of(int rank) const { return rank % block_; }
  void check_peer(int peer, const char* call) const;

  HierarchicalParts parts_;
  int block_;
  int nodes_;
  int rank_;
  int size_;
  std::vector<float> padded_;
  std::vector<float> permuted_;
  std::vector<std::byte> gathered_;
};

}  // namespace talaria::parallel
