// SPDX-License-Identifier: Apache-2.0
// This process as a rank: owns MPI from start to end and makes the communicators of groups. Works
// the same when the program was started without mpirun: a world of one. Make one, first in main;
// every communicator must be gone before it. Used by one thread (MPI_THREAD_FUNNELED).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "parallel/comm/group_plan.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

struct GroupOptions {
  Transport transport = Transport::kAuto;
  // The largest message that `send` takes inside a node (shm).
  std::int64_t max_message_bytes = std::int64_t{64} << 20;
  // One of the two staging halves of a rank in shm.
  std::int64_t staging_bytes = std::int64_t{1} << 20;
  // For tests, on one machine: above 0, pretend that world rank w runs on node
  // w * simulated_nodes / world_size.
  int simulated_nodes = 0;
  // The shared memory of a group is /dev/shm/<prefix>-<pid>-<number> while its members map it,
  // about a millisecond; the name is then removed. Only a kill in that time leaves a file.
  std::string shm_prefix = "/talaria";
};

class Process {
 public:
  Process();
  // Finalizes MPI. When an exception is on its way, ends the whole job instead.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int rank() const;
  int size() const;
  // Among the ranks of this node, in rank order.
  int local_rank() const;
  int local_size() const;
  // The host name, as MPI sees it.
  const std::string& host() const;

  // The group of these world ranks, in this order; the caller must be one of them. Collective over
  // the group's members only, which pass the same arguments. Throws Error on all members when one
  // cannot map the group's memory.
  std::unique_ptr<Communicator> make_group(std::span<const int> world_ranks,
                                           const GroupOptions& options = {});
  // The group of all ranks.
  std::unique_ptr<Communicator> make_world(const GroupOptions& options = {});

  // Runs `body` and returns its exit code. An exception ends the whole job, so that no other rank
  // waits for this one: it is logged, and mpirun exits with 2 for a UsageError, 1 for others.
  int run(const std::function<int()>& body);

  // Ends the whole job with this exit code.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::parallel
