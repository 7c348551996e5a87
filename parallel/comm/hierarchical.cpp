// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/hierarchical.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "cluster/base/error.h"
#include "parallel/comm/traffic.h"

namespace talaria::parallel {
namespace {

// Payloads up to this many elements are padded whole rather than in two rounds.
constexpr std::int64_t kPadWhole = 4096;
// Memory for the reordered copies that reduce-scatter and all-gather need, in bytes.
constexpr std::int64_t kReorderBytes = std::int64_t{8} << 20;

template <class T>
std::int64_t length_of(std::span<T> data) {
  return static_cast<std::int64_t>(data.size());
}

template <class T>
std::span<T> part(std::span<T> data, std::int64_t begin, std::int64_t length) {
  return data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length));
}

}  // namespace

HierarchicalCommunicator::HierarchicalCommunicator(HierarchicalParts parts)
    : parts_(std::move(parts)),
      block_(parts_.node->size()),
      nodes_(parts_.peers->size()),
      rank_(parts_.whole->rank()),
      size_(parts_.whole->size()) {
  TALARIA_CHECK(std::has_single_bit(static_cast<unsigned>(block_)), "blocks of {}", block_);
  TALARIA_CHECK(size_ == block_ * nodes_);
  TALARIA_CHECK(parts_.node->rank() == position_of(rank_) &&
                parts_.peers->rank() == node_of(rank_));
}

void HierarchicalCommunicator::all_reduce_chunks(std::span<float> data) {
  const std::int64_t chunk = length_of(data) / block_;
  parts_.node->reduce_scatter_sum(data);
  parts_.peers->all_reduce_sum(part(data, chunk * position_of(rank_), chunk));
  parts_.node->all_gather(std::as_writable_bytes(data));
}

void HierarchicalCommunicator::all_reduce_sum(std::span<float> data) {
  const std::int64_t count = length_of(data);
  const std::int64_t rest = count <= kPadWhole ? count : count % block_;
  if (rest < count || count == 0) all_reduce_chunks(part(data, 0, count - rest));
  if (rest > 0) {
    const std::span<float> tail = part(data, count - rest, rest);
    padded_.assign(static_cast<std::size_t>((rest + block_ - 1) / block_ * block_), 0.0F);
    std::copy(tail.begin(), tail.end(), padded_.begin());
    all_reduce_chunks(padded_);
    std::copy_n(padded_.begin(), rest, tail.begin());
  }
  count_call(all_reduce_bytes(count, sizeof(float), size_, rank_));
}

template <class T>
void HierarchicalCommunicator::all_reduce_whole(std::span<T> data) {
  parts_.node->all_reduce_sum(data);
  parts_.peers->all_reduce_sum(data);
  count_call(all_reduce_bytes(length_of(data), sizeof(T), size_, rank_));
}

void HierarchicalCommunicator::reduce_scatter_sum(std::span<float> data) {
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) {
    fail("hierarchical group of {}: reduce_scatter_sum of {} elements", size_, count);
  }
  const std::int64_t chunk = count / size_;
  const std::int64_t slice =
      std::max<std::int64_t>(1, kReorderBytes / static_cast<std::int64_t>(sizeof(float)) / size_);
  std::int64_t begin = 0;
  do {
    // [rank][length] -> [position][node][length]: a position's chunks of all nodes side by side.
    const std::int64_t length = std::min(slice, chunk - begin);
    permuted_.resize(static_cast<std::size_t>(length * size_));
    const std::span<float> permuted(permuted_);
    const auto at = [&](int rank) {
      return (std::int64_t{position_of(rank)} * nodes_ + node_of(rank)) * length;
    };
    for (int rank = 0; rank < size_; ++rank) {
      std::copy_n(data.begin() + rank * chunk + begin, length, permuted.begin() + at(rank));
    }
    parts_.node->reduce_scatter_sum(permuted);
    parts_.peers->reduce_scatter_sum(
        part(permuted, std::int64_t{position_of(rank_)} * nodes_ * length, nodes_ * length));
    std::copy_n(permuted.begin() + at(rank_), length, data.begin() + rank_ * chunk + begin);
    begin += length;
  } while (begin < chunk);
  count_call(chunks_bytes(chunk * static_cast<std::int64_t>(sizeof(float)), size_));
}

void HierarchicalCommunicator::all_gather(std::span<std::byte> data) {
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) fail("hierarchical group of {}: all_gather of {} bytes", size_, count);
  const std::int64_t chunk = count / size_;
  const std::int64_t slice = std::max<std::int64_t>(1, kReorderBytes / size_);
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(slice, chunk - begin);
    gathered_.resize(static_cast<std::size_t>(length * size_));
    const std::span<std::byte> gathered(gathered_);
    const auto at = [&](int rank) {
      return (std::int64_t{position_of(rank)} * nodes_ + node_of(rank)) * length;
    };
    std::copy_n(data.begin() + rank_ * chunk + begin, length, gathered.begin() + at(rank_));
    parts_.peers->all_gather(
        part(gathered, std::int64_t{position_of(rank_)} * nodes_ * length, nodes_ * length));
    parts_.node->all_gather(gathered);
    for (int rank = 0; rank < size_; ++rank) {
      std::copy_n(gathered.begin() + at(rank), length, data.begin() + rank * chunk + begin);
    }
    begin += length;
  } while (begin < chunk);
  count_call(chunks_bytes(chunk, size_));
}

void HierarchicalCommunicator::broadcast(std::span<std::byte> data, int root) {
  if (root < 0 || root >= size_) {
    fail("hierarchical group of {}: broadcast from rank {}", size_, root);
  }
  if (position_of(root) == position_of(rank_)) parts_.peers->broadcast(data, node_of(root));
  parts_.node->broadcast(data, position_of(root));
  count_call(broadcast_bytes(length_of(data), size_, rank_ == root));
}

void HierarchicalCommunicator::check_peer(int peer, const char* call) const {
  if (peer < 0 || peer >= size_ || peer == rank_) {
    fail(
        "hierarchical group, rank {} of {}: {} with rank {}, which is not another rank of the "
        "group",
        rank_, size_, call, peer);
  }
}

void HierarchicalCommunicator::send(std::span<const std::byte> data, int to) {
  check_peer(to, "send");
  if (node_of(to) == node_of(rank_)) {
    parts_.node->send(data, position_of(to));
  } else {
    parts_.whole->send(data, to);
  }
  count_call(data.size());
}

void HierarchicalCommunicator::recv(std::span<std::byte> data, int from) {
  check_peer(from, "recv");
  if (node_of(from) == node_of(rank_)) {
    parts_.node->recv(data, position_of(from));
  } else {
    parts_.whole->recv(data, from);
  }
  count_call(0);
}

void HierarchicalCommunicator::barrier() {
  // Who passes the second knows that all positions of all nodes have passed the first.
  parts_.node->barrier();
  parts_.peers->barrier();
  count_call(0);
}

void HierarchicalCommunicator::abort() noexcept {
  parts_.node->abort();
  parts_.whole->abort();
}

}  // namespace talaria::parallel
