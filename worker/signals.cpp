// SPDX-License-Identifier: Apache-2.0
#include "worker/signals.h"

#include <csignal>

#include "cluster/base/error.h"

namespace talaria::worker {
namespace {

volatile std::sig_atomic_t arrived = 0;  // a signal handler can reach nothing else

void remember(int signal) { arrived = signal; }

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
    check_sys(::sigaction(signal, &action, nullptr), "sigaction", "stop signal");
  }
}

int stop_signal() { return arrived; }

}  // namespace talaria::worker
