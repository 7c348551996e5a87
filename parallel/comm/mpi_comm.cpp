// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/mpi_comm.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <utility>

#include "cluster/base/error.h"
#include "parallel/comm/traffic.h"
#include "parallel/comm/tree.h"

namespace talaria::parallel {
namespace {

enum Tag : int { kTagMessage = 1, kTagReduce = 2, kTagGather = 3 };

// The most that one message of a collective carries; larger chunks go in several rounds. It bounds
// the memory for foreign copies and keeps counts far below MPI's int.
constexpr std::int64_t kSliceBytes = std::int64_t{4} << 20;
constexpr std::int64_t kBroadcastBytes = std::int64_t{1} << 30;

int to_count(std::size_t bytes) {
  TALARIA_CHECK(bytes <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(bytes);
}

template <class T>
std::int64_t length_of(std::span<T> data) {
  return static_cast<std::int64_t>(data.size());
}

// [begin, begin + length) of a chunk, clipped to the data.
template <class T>
std::span<T> clipped(std::span<T> data, std::int64_t begin, std::int64_t end) {
  begin = std::min(begin, length_of(data));
  end = std::min(end, length_of(data));
  return data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

}  // namespace

bool MpiProgress::poll() {
  bool under_way = false;
  for (MpiCommunicator* group : groups_) under_way = group->progress_sends() || under_way;
  return under_way;
}

MpiCommunicator::MpiCommunicator(UniqueMpiComm comm, std::shared_ptr<MpiProgress> progress)
    : comm_(std::move(comm)),
      progress_(std::move(progress)),
      exceptions_(std::uncaught_exceptions()) {
  return_errors(comm_.get());
  check_mpi(MPI_Comm_rank(comm_.get(), &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_.get(), &size_), "MPI_Comm_size");
  outboxes_.resize(static_cast<std::size_t>(size_));
  progress_->add(this);
}

MpiCommunicator::~MpiCommunicator() {
  progress_->remove(this);
  if (std::uncaught_exceptions() > exceptions_) {
    comm_.release();
    progress_->keep(std::move(outboxes_));
    return;
  }
  for (MpiOutbox& outbox : outboxes_) {
    for (MpiOutbox::Send& sent : outbox.sends) {
      check_mpi(MPI_Wait(&sent.request, MPI_STATUS_IGNORE), "MPI_Wait");
    }
  }
}

std::string MpiCommunicator::who() const {
  return fmt::format("mpi group, rank {} of {}", rank_, size_);
}

void MpiCommunicator::check_peer(int peer, const char* call) const {
  if (peer < 0 || peer >= size_ || peer == rank_) {
    fail("{}: {} with rank {}, which is not another rank of the group", who(), call, peer);
  }
}

template <class SendOf, class RecvOf>
void MpiCommunicator::exchange(int tag, SendOf send_of, RecvOf recv_of) {
  requests_.clear();
  for (int step = 1; step < size_; ++step) {
    const int from = (rank_ - step + size_) % size_;
    const std::span<std::byte> bytes = recv_of(from);
    check_mpi(MPI_Irecv(bytes.data(), to_count(bytes.size()), MPI_BYTE, from, tag, comm_.get(),
                        &requests_.emplace_back()),
              "MPI_Irecv");
  }
  for (int step = 1; step < size_; ++step) {
    const int to = (rank_ + step) % size_;
    const std::span<const std::byte> bytes = send_of(to);
    check_mpi(MPI_Isend(bytes.data(), to_count(bytes.size()), MPI_BYTE, to, tag, comm_.get(),
                        &requests_.emplace_back()),
              "MPI_Isend");
  }
  statuses_.resize(requests_.size());
  const int rc =
      MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses_.data());
  if (rc == MPI_ERR_IN_STATUS) {
    for (const MPI_Status& status : statuses_) check_mpi(status.MPI_ERROR, "MPI_Waitall");
  }
  check_mpi(rc, "MPI_Waitall");
  for (int step = 1; step < size_; ++step) {
    const int from = (rank_ - step + size_) % size_;
    int got = 0;
    check_mpi(MPI_Get_count(&statuses_[static_cast<std::size_t>(step - 1)], MPI_BYTE, &got),
              "MPI_Get_count");
    if (got != to_count(recv_of(from).size())) {
      fail(
          "{}: rank {} gave {} bytes to a collective where {} were expected: the ranks' calls "
          "differ",
          who(), from, got, recv_of(from).size());
    }
  }
}

template <class T>
void MpiCommunicator::sum_own_chunk(std::span<T> data, std::int64_t stride) {
  const std::int64_t slice = kSliceBytes / static_cast<std::int64_t>(sizeof(T));
  const auto ranks = static_cast<std::size_t>(size_);
  std::vector<const T*> sources(ranks);
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + slice, stride);
    const auto chunk_of = [&](int rank) {
      return clipped(data, rank * stride + begin, rank * stride + end);
    };
    const std::span<T> own = chunk_of(rank_);
    foreign_.resize(std::max(foreign_.size(), own.size_bytes() * ranks));
    const auto copy_of = [&](int peer) {
      return std::span(foreign_).subspan(own.size_bytes() * static_cast<std::size_t>(peer),
                                         own.size_bytes());
    };
    exchange(
        kTagReduce, [&](int peer) { return std::as_bytes(chunk_of(peer)); }, copy_of);
    for (int peer = 0; peer < size_; ++peer) {
      sources[static_cast<std::size_t>(peer)] =
          peer == rank_ ? own.data() : reinterpret_cast<const T*>(copy_of(peer).data());
    }
    tree_sum<T>(sources, own.data(), length_of(own));
    begin = end;
  } while (begin < stride);
}

void MpiCommunicator::spread_chunks(std::span<std::byte> data, std::int64_t stride) {
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + kSliceBytes, stride);
    const auto chunk_of = [&](int rank) {
      return clipped(data, rank * stride + begin, rank * stride + end);
    };
    exchange(
        kTagGather, [&](int) { return std::span<const std::byte>(chunk_of(rank_)); }, chunk_of);
    begin = end;
  } while (begin < stride);
}

template <class T>
void MpiCommunicator::all_reduce(std::span<T> data) {
  constexpr std::int64_t kElement = sizeof(T);
  const std::int64_t stride = (length_of(data) + size_ - 1) / size_;
  sum_own_chunk(data, stride);
  spread_chunks(std::as_writable_bytes(data), stride * kElement);
  count_call(all_reduce_bytes(length_of(data), kElement, size_, rank_));
}

void MpiCommunicator::reduce_scatter_sum(std::span<float> data) {
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) fail("{}: reduce_scatter_sum of {} elements", who(), count);
  sum_own_chunk(data, count / size_);
  count_call(chunks_bytes(count / size_ * static_cast<std::int64_t>(sizeof(float)), size_));
}

void MpiCommunicator::all_gather(std::span<std::byte> data) {
  const std::int64_t count = length_of(data);
  if (count % size_ != 0) fail("{}: all_gather of {} bytes", who(), count);
  spread_chunks(data, count / size_);
  count_call(chunks_bytes(count / size_, size_));
}

void MpiCommunicator::broadcast(std::span<std::byte> data, int root) {
  if (root < 0 || root >= size_) fail("{}: broadcast from rank {}", who(), root);
  for (std::int64_t begin = 0; begin < length_of(data); begin += kBroadcastBytes) {
    const std::span<std::byte> part = clipped(data, begin, begin + kBroadcastBytes);
    check_mpi(MPI_Bcast(part.data(), to_count(part.size()), MPI_BYTE, root, comm_.get()),
              "MPI_Bcast");
  }
  count_call(broadcast_bytes(length_of(data), size_, rank_ == root));
}

void MpiCommunicator::send(std::span<const std::byte> data, int to) {
  check_peer(to, "send");
  if (data.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    fail("{}: send of {} bytes to rank {}: MPI takes less than 2 GiB a message", who(), data.size(),
         to);
  }
  MpiOutbox& outbox = outboxes_[static_cast<std::size_t>(to)];
  MpiOutbox::Send& slot = outbox.sends[static_cast<std::size_t>(outbox.next)];
  check_mpi(MPI_Wait(&slot.request, MPI_STATUS_IGNORE), "MPI_Wait");
  slot.buffer.assign(data.begin(), data.end());
  check_mpi(MPI_Isend(slot.buffer.data(), to_count(data.size()), MPI_BYTE, to, kTagMessage,
                      comm_.get(), &slot.request),
            "MPI_Isend");
  outbox.next = (outbox.next + 1) % kSendDepth;
  count_call(data.size());
}

void MpiCommunicator::recv(std::span<std::byte> data, int from) {
  check_peer(from, "recv");
  if (data.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    fail("{}: recv of {} bytes from rank {}: MPI takes less than 2 GiB a message", who(),
         data.size(), from);
  }
  MPI_Status status{};
  check_mpi(MPI_Recv(data.data(), to_count(data.size()), MPI_BYTE, from, kTagMessage, comm_.get(),
                     &status),
            "MPI_Recv");
  int got = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &got), "MPI_Get_count");
  if (got != to_count(data.size())) {
    fail("{}: recv of {} bytes from rank {}, which sent {}", who(), data.size(), from, got);
  }
  count_call(0);
}

void MpiCommunicator::barrier() {
  check_mpi(MPI_Barrier(comm_.get()), "MPI_Barrier");
  count_call(0);
}

void MpiCommunicator::abort() noexcept { MPI_Abort(comm_.get(), 1); }

bool MpiCommunicator::progress_sends() {
  bool under_way = false;
  for (MpiOutbox& outbox : outboxes_) {
    for (MpiOutbox::Send& sent : outbox.sends) {
      if (sent.request == MPI_REQUEST_NULL) continue;
      int done = 0;
      check_mpi(MPI_Test(&sent.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      if (done == 0) under_way = true;
    }
  }
  return under_way;
}

}  // namespace talaria::parallel
