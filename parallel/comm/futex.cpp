// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/futex.h"

#include <cerrno>
#include <climits>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::parallel {

void futex_wait(const FutexWord& word, std::uint32_t seen, std::chrono::milliseconds timeout) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  timespec limit{};
  limit.tv_sec = seconds.count();
  limit.tv_nsec = std::chrono::nanoseconds(timeout - seconds).count();
  // Not FUTEX_PRIVATE: the word may lie in memory shared by processes.
  const long rc = ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
  if (rc < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT) {
    fail_errno("futex", "FUTEX_WAIT");
  }
}

void futex_wake_all(const FutexWord& word) {
  check_sys(::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0), "futex",
            "FUTEX_WAKE");
}

}  // namespace talaria::parallel
