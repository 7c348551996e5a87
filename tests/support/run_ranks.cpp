// SPDX-License-Identifier: Apache-2.0
#include "tests/support/run_ranks.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/base/log.h"

namespace talaria::parallel {
namespace {

struct Team {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<bool> running;
  int left = 0;
  std::exception_ptr failure;
};

std::string running_ranks(const Team& team) {
  std::string list;
  for (std::size_t rank = 0; rank < team.running.size(); ++rank) {
    if (team.running[rank]) list += fmt::format(" {}", rank);
  }
  return list;
}

}  // namespace

void run_ranks(int n, const std::function<void(int rank, Communicator& comm)>& fn,
               double timeout_seconds, const SharedOptions& options) {
  const std::vector<std::unique_ptr<Communicator>> ends = make_local_communicators(n, options);
  Team team;
  team.running.assign(static_cast<std::size_t>(n), true);
  team.left = n;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&team, &fn, &ends, rank] {
      Communicator& comm = *ends[static_cast<std::size_t>(rank)];
      std::exception_ptr failure;
      try {
        fn(rank, comm);
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(team.mutex);
      if (failure) {
        if (!team.failure) team.failure = failure;
        comm.abort();
      }
      team.running[static_cast<std::size_t>(rank)] = false;
      --team.left;
      team.changed.notify_all();
    });
  }
  {
    std::unique_lock lock(team.mutex);
    const std::chrono::duration<double> limit(timeout_seconds);
    if (!team.changed.wait_for(lock, limit, [&] { return team.left == 0; })) {
      log_line(fmt::format("run_ranks: after {} s these of {} ranks have not returned:{}",
                           timeout_seconds, n, running_ranks(team)));
      std::abort();
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (team.failure) std::rethrow_exception(team.failure);
}

}  // namespace talaria::parallel
