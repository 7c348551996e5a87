// SPDX-License-Identifier: Apache-2.0
// The mpi transport: any nodes. MPI only moves bytes; the sums are ours, so that they are the
// balanced tree over rank order for any number of ranks. All-reduce is a direct reduce-scatter
// (each rank receives the n - 1 foreign copies of its chunk and adds them) and an all-gather.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/comm/mpi_handles.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

class MpiCommunicator;

// The sends to one peer that may still be under way, each with the buffer that MPI reads.
struct MpiOutbox {
  struct Send {
    std::vector<std::byte> buffer;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  std::array<Send, kSendDepth> sends;
  int next = 0;  // the slot of the oldest send
};

// The mpi groups of this process that may have sends under way. MPI moves a large message only
// while its sender is inside MPI, so a rank that sleeps elsewhere must call poll() now and then.
class MpiProgress {
 public:
  void add(MpiCommunicator* group) { groups_.push_back(group); }
  void remove(MpiCommunicator* group) { std::erase(groups_, group); }
  // Whether any send is still under way.
  bool poll();
  // Keeps the buffers of a group that failed for as long as MPI may read them.
  void keep(std::vector<MpiOutbox> outboxes) { kept_.push_back(std::move(outboxes)); }

 private:
  std::vector<MpiCommunicator*> groups_;
  std::vector<std::vector<MpiOutbox>> kept_;
};

class MpiCommunicator final : public Communicator {
 public:
  // Takes an MPI communicator that nobody else uses.
  MpiCommunicator(UniqueMpiComm comm, std::shared_ptr<MpiProgress> progress);
  // Waits for its sends to be received, unless an exception is on its way: then it leaves them and
  // their buffers to `progress`.
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "mpi"; }

  void all_reduce_sum(std::span<float> data) override { all_reduce(data); }
  void all_reduce_sum(std::span<double> data) override { all_reduce(data); }
  void all_reduce_sum(std::span<std::int64_t> data) override { all_reduce(data); }
  void reduce_scatter_sum(std::span<float> data) override;
  void all_gather(std::span<std::byte> data) override;
  void broadcast(std::span<std::byte> data, int root) override;
  // Throws Error for 2 GiB or more.
  void send(std::span<const std::byte> data, int to) override;
  void recv(std::span<std::byte> data, int from) override;
  void barrier() override;
  // Ends the whole job: MPI_Abort.
  void abort() noexcept override;

  // Whether a send is still under way.
  bool progress_sends();

 private:
  template <class T>
  void all_reduce(std::span<T> data);
  // Chunks lie `stride` elements apart in `data` and are cut off at its end. Afterwards this rank's
  // chunk holds the tree sum of all ranks' copies of it.
  template <class T>
  void sum_own_chunk(std::span<T> data, std::int64_t stride);
  // Fills all chunks from their owners. `stride` in bytes.
  void spread_chunks(std::span<std::byte> data, std::int64_t stride);
  // One message to and one from every other rank: send_of(peer) and recv_of(peer) are their bytes.
  template <class SendOf, class RecvOf>
  void exchange(int tag, SendOf send_of, RecvOf recv_of);

  void check_peer(int peer, const char* call) const;
  std::string who() const;

  UniqueMpiComm comm_;
  std::shared_ptr<MpiProgress> progress_;
  int exceptions_ = 0;
  int rank_ = 0;
  int size_ = 0;
  std::vector<MpiOutbox> outboxes_;  // [to]
  std::vector<std::byte> foreign_;   // copies of this rank's chunk
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace talaria::parallel
