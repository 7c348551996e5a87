// SPDX-License-Identifier: Apache-2.0
// Signals that ask a rank to stop early: SIGUSR1, SIGTERM, SIGINT.
#pragma once

namespace talaria::worker {

// Installs the handlers. Call once, before threads start.
void catch_stop_signals();
// The number of the stop signal that arrived, or 0.
int stop_signal();

}  // namespace talaria::worker
