// SPDX-License-Identifier: Apache-2.0
#include "coordinator/state/statement_crash.h"

#include <atomic>
#include <csignal>

#include "coordinator/state/store.h"

namespace talaria::coordinator {
namespace {

// Of the whole process, as the crash is.
struct Counter {
  std::atomic<std::int64_t> executed = 0;
  std::atomic<std::int64_t> crash_at = -1;  // 2 * statement, + 1 for after it
};

Counter& counter() {
  static Counter state;
  return state;
}

void die_at(std::int64_t instant) {
  if (counter().crash_at == instant) std::raise(SIGKILL);
}

}  // namespace

void before_statement() { die_at(2 * counter().executed); }

void after_statement() { die_at(2 * counter().executed++ + 1); }

void arm_statement_crash(std::int64_t n) { counter().crash_at = n; }

std::int64_t statements_executed() { return counter().executed; }

}  // namespace talaria::coordinator
