// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/shared_comm.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "cluster/base/error.h"
#include "parallel/comm/traffic.h"
#include "parallel/comm/tree.h"

namespace talaria::parallel {
namespace {

// How long a sleeper sleeps before it looks whether the group was aborted.
constexpr std::chrono::milliseconds kLongSleep(200);
// The same while this process has MPI sends under way.
constexpr std::chrono::milliseconds kPollSleep(1);
// Up to this much data of all ranks together, every rank sums everything: one barrier less.
constexpr std::int64_t kSmallBytes = 32 << 10;

template <class T>
std::int64_t length_of(std::span<T> data) {
  return static_cast<std::int64_t>(data.size());
}

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

}  // namespace

SharedCommunicator::SharedCommunicator(std::shared_ptr<SharedSegment> segment, int rank,
                                       std::string transport, ProgressPoll poll)
    : segment_(std::move(segment)),
      rank_(rank),
      size_(segment_->ranks()),
      transport_(std::move(transport)),
      poll_(std::move(poll)),
      message_reserved_(static_cast<std::size_t>(size_) * kSendDepth) {
  TALARIA_CHECK(rank >= 0 && rank < size_, "rank {} of {}", rank, size_);
}

const char* SharedCommunicator::name_of(std::int32_t operation) {
  constexpr const char* kNames[] = {"all_reduce_sum(float)",
                                    "all_reduce_sum(double)",
                                    "all_reduce_sum(int64)",
                                    "reduce_scatter_sum(float)",
                                    "all_gather",
                                    "broadcast",
                                    "barrier"};
  return kNames[operation];
}

std::string SharedCommunicator::who() const {
  return fmt::format("{} group, rank {} of {}", transport_, rank_, size_);
}

template <class Ready>
void SharedCommunicator::wait(const FutexWord& word, const char* what, Ready ready) {
  while (true) {
    const std::uint32_t seen = word.load(std::memory_order_acquire);
    if (ready(seen)) return;
    if (segment_->control().aborted.load(std::memory_order_acquire) != 0) {
      fail("{}: stopped waiting in {}: a rank of the group failed", who(), what);
    }
    const bool under_way = poll_ && poll_();
    futex_wait(word, seen, under_way ? kPollSleep : kLongSleep);
  }
}

void SharedCommunicator::meet() {
  SharedControl& control = segment_->control();
  const std::uint32_t generation = control.generation.load(std::memory_order_acquire);
  const auto last = static_cast<std::uint32_t>(size_ - 1);
  if (control.arrived.fetch_add(1, std::memory_order_acq_rel) == last) {
    control.arrived.store(0, std::memory_order_relaxed);
    control.generation.store(generation + 1, std::memory_order_release);
    futex_wake_all(control.generation);
    return;
  }
  wait(control.generation, "a collective",
       [generation](std::uint32_t now) { return now != generation; });
}

void SharedCommunicator::meet_and_compare(const SharedCall& call) {
  segment_->call(half_, rank_) = call;
  meet();
  const SharedCall& first = segment_->call(half_, 0);
  for (int peer = 1; peer < size_; ++peer) {
    const SharedCall& other = segment_->call(half_, peer);
    if (other == first) continue;
    fail(
        "{}: the ranks' calls differ: rank 0 {} of {} bytes (root {}), rank {} {} of {} bytes "
        "(root {})",
        who(), name_of(first.operation), first.bytes, first.root, peer, name_of(other.operation),
        other.bytes, other.root);
  }
}

void SharedCommunicator::meet_for_piece(std::int64_t begin, const SharedCall& call) {
  if (begin == 0) {
    meet_and_compare(call);
  } else {
    meet();
  }
}

std::byte* SharedCommunicator::own_staging(std::int64_t bytes) {
  std::byte* memory = segment_->staging(half_, rank_);
  std::int64_t& reserved = staging_reserved_[half_];
  if (bytes > reserved) {
    segment_->reserve(memory, bytes);
    reserved = bytes;
  }
  return memory;
}

template <class T>
void SharedCommunicator::all_reduce(std::span<T> data, Operation operation) {
  constexpr std::int64_t kElement = sizeof(T);
  const std::int64_t count = length_of(data);
  const std::int64_t piece = segment_->options().staging_bytes / kElement;
  std::vector<const T*> sources(static_cast<std::size_t>(size_));
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(piece, count - begin);
    T* own = reinterpret_cast<T*>(own_staging(length * kElement));
    copy_bytes(own, data.data() + begin, length * kElement);
    meet_for_piece(begin, {operation, 0, count * kElement});
    const bool small = length * kElement * size_ <= kSmallBytes;
    const RowRange mine = small ? RowRange{0, length} : row_block(length, size_, rank_);
    for (int peer = 0; peer < size_; ++peer) {
      sources[static_cast<std::size_t>(peer)] = staged<T>(peer) + mine.begin;
    }
    if (small) {
      tree_sum<T>(sources, data.data() + begin, length);
    } else {
      // No other rank reads this chunk of this rank's staging before the barrier.
      tree_sum<T>(sources, own + mine.begin, mine.end - mine.begin);
      meet();
      for (int peer = 0; peer < size_; ++peer) {
        const RowRange chunk = row_block(length, size_, peer);
        copy_bytes(data.data() + begin + chunk.begin, staged<T>(peer) + chunk.begin,
                   (chunk.end - chunk.begin) * kElement);
      }
    }
    next_half();
    begin += length;
  } while (begin < count);
  count_call(all_reduce_bytes(count, kElement, size_, rank_));
}

void SharedCommunicator::reduce_scatter_sum(std::span<float> data) {
  constexpr std::int64_t kElement = sizeof(float);
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) fail("{}: reduce_scatter_sum of {} elements", who(), count);
  const std::int64_t chunk = count / size_;
  const std::int64_t piece = segment_->options().staging_bytes / kElement / size_;
  std::vector<const float*> sources(static_cast<std::size_t>(size_));
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(piece, chunk - begin);
    auto* own = reinterpret_cast<float*>(own_staging(length * size_ * kElement));
    for (int peer = 0; peer < size_; ++peer) {
      copy_bytes(own + peer * length, data.data() + peer * chunk + begin, length * kElement);
    }
    meet_for_piece(begin, {kReduceScatter, 0, count * kElement});
    for (int peer = 0; peer < size_; ++peer) {
      sources[static_cast<std::size_t>(peer)] = staged<float>(peer) + rank_ * length;
    }
    tree_sum<float>(sources, data.data() + rank_ * chunk + begin, length);
    next_half();
    begin += length;
  } while (begin < chunk);
  count_call(chunks_bytes(chunk * kElement, size_));
}

void SharedCommunicator::all_gather(std::span<std::byte> data) {
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) fail("{}: all_gather of {} bytes", who(), count);
  const std::int64_t chunk = count / size_;
  const std::int64_t piece = segment_->options().staging_bytes;
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(piece, chunk - begin);
    copy_bytes(own_staging(length), data.data() + rank_ * chunk + begin, length);
    meet_for_piece(begin, {kAllGather, 0, count});
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      copy_bytes(data.data() + peer * chunk + begin, staged<std::byte>(peer), length);
    }
    next_half();
    begin += length;
  } while (begin < chunk);
  count_call(chunks_bytes(chunk, size_));
}

void SharedCommunicator::broadcast(std::span<std::byte> data, int root) {
  if (root < 0 || root >= size_) fail("{}: broadcast from rank {}", who(), root);
  const std::int64_t count = length_of(data);
  const std::int64_t piece = segment_->options().staging_bytes;
  std::int64_t begin = 0;
  do {
    const std::int64_t length = std::min(piece, count - begin);
    if (rank_ == root) copy_bytes(own_staging(length), data.data() + begin, length);
    meet_for_piece(begin, {kBroadcast, root, count});
    if (rank_ != root) copy_bytes(data.data() + begin, staged<std::byte>(root), length);
    next_half();
    begin += length;
  } while (begin < count);
  count_call(broadcast_bytes(count, size_, rank_ == root));
}

void SharedCommunicator::barrier() {
  meet_and_compare({kBarrier, 0, 0});
  next_half();
  count_call(0);
}

void SharedCommunicator::check_peer(int peer, const char* call) const {
  if (peer < 0 || peer >= size_ || peer == rank_) {
    fail("{}: {} with rank {}, which is not another rank of the group", who(), call, peer);
  }
}

void SharedCommunicator::send(std::span<const std::byte> data, int to) {
  check_peer(to, "send");
  const std::int64_t bytes = length_of(data);
  if (bytes > segment_->options().max_message_bytes) {
    fail(
        "{}: send of {} bytes to rank {}: the group was made for messages of at most {} bytes "
        "(max_message_bytes)",
        who(), bytes, to, segment_->options().max_message_bytes);
  }
  Mailbox& box = segment_->mailbox(rank_, to);
  const std::uint32_t number = box.written.load(std::memory_order_relaxed);
  wait(box.taken, "send", [number](std::uint32_t taken) { return number - taken < kSendDepth; });
  const std::uint32_t slot = number % kSendDepth;
  std::byte* message = segment_->message(rank_, to, slot);
  std::int64_t& reserved = message_reserved_[static_cast<std::size_t>(to) * kSendDepth + slot];
  if (bytes > reserved) {
    segment_->reserve(message, bytes);
    reserved = bytes;
  }
  copy_bytes(message, data.data(), bytes);
  box.bytes[slot] = bytes;
  box.written.store(number + 1, std::memory_order_release);
  futex_wake_all(box.written);
  count_call(static_cast<std::uint64_t>(bytes));
}

void SharedCommunicator::recv(std::span<std::byte> data, int from) {
  check_peer(from, "recv");
  Mailbox& box = segment_->mailbox(from, rank_);
  const std::uint32_t number = box.taken.load(std::memory_order_relaxed);
  wait(box.written, "recv", [number](std::uint32_t written) { return written != number; });
  const std::uint32_t slot = number % kSendDepth;
  if (box.bytes[slot] != length_of(data)) {
    fail("{}: recv of {} bytes from rank {}, which sent {}", who(), data.size(), from,
         box.bytes[slot]);
  }
  copy_bytes(data.data(), segment_->message(from, rank_, slot), box.bytes[slot]);
  box.taken.store(number + 1, std::memory_order_release);
  futex_wake_all(box.taken);
  count_call(0);
}

void SharedCommunicator::abort() noexcept {
  // Sleepers see it at their next look; those in collectives are woken at once.
  SharedControl& control = segment_->control();
  control.aborted.store(1, std::memory_order_release);
  futex_wake_all(control.generation);
}

}  // namespace talaria::parallel
