// SPDX-License-Identifier: Apache-2.0
// A fixed team of threads that runs numbered units of work. Waiting never spins, so that ranks
// which share cores do not steal each other's time. Which thread runs a unit must not change its
// result.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace talaria {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts no thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Runs work(unit, thread) for every unit in [0, units), 0 <= thread < size(), and returns when
  // all are done. Units are handed out in ascending order. The first exception is rethrown here.
  // Not reentrant: `work` must not call run() of the same pool.
  void run(std::int64_t units, const std::function<void(std::int64_t unit, int thread)>& work);

 private:
  void thread_main(int thread);
  void take_units(std::unique_lock<std::mutex>& lock, int thread);

  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable finished_;
  const std::function<void(std::int64_t, int)>* work_ = nullptr;
  std::int64_t next_ = 0;
  std::int64_t units_ = 0;
  std::int64_t left_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace talaria
