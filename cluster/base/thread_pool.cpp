// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/thread_pool.h"

#include <utility>

#include "cluster/base/error.h"

namespace talaria {

ThreadPool::ThreadPool(int threads) {
  TALARIA_CHECK(threads >= 1, "threads = {}", threads);
  for (int t = 1; t < threads; ++t) threads_.emplace_back([this, t] { thread_main(t); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  started_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(std::int64_t units, const std::function<void(std::int64_t, int)>& work) {
  if (units <= 0) return;
  if (threads_.empty() || units == 1) {
    for (std::int64_t unit = 0; unit < units; ++unit) work(unit, 0);
    return;
  }
  std::unique_lock lock(mutex_);
  TALARIA_CHECK(work_ == nullptr, "ThreadPool::run is not reentrant");
  work_ = &work;
  next_ = 0;
  units_ = units;
  left_ = units;
  started_.notify_all();
  take_units(lock, 0);
  finished_.wait(lock, [this] { return left_ == 0; });
  work_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_units(std::unique_lock<std::mutex>& lock, int thread) {
  while (work_ != nullptr && next_ < units_) {
    const std::int64_t unit = next_++;
    const auto* work = work_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*work)(unit, thread);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    if (--left_ == 0) finished_.notify_one();
  }
}

void ThreadPool::thread_main(int thread) {
  std::unique_lock lock(mutex_);
  while (true) {
    started_.wait(lock, [this] { return stopping_ || (work_ != nullptr && next_ < units_); });
    if (stopping_) return;
    take_units(lock, thread);
  }
}

}  // namespace talaria
