// SPDX-License-Identifier: Apache-2.0
#include "worker/signals.h"

#include <csignal>

#include "cluster/base/error.h"

namespace talaria::worker {
namespace {

constexpr int kStopSignals[] = {SIGUSR1, SIGTERM, SIGINT};

}  // namespace

void block_stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kStopSignals) ::sigaddset(&set, signal);
  check_sys(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask", "stop signals");
}

int stop_signal() {
  sigset_t waiting;
  check_sys(::sigpending(&waiting), "sigpending", "stop signals");
  for (const int signal : kStopSignals) {
    if (::sigismember(&waiting, signal) == 1) return signal;
  }
  return 0;
}

}  // namespace talaria::worker
