// SPDX-License-Identifier: Apache-2.0
// Signals that ask a rank to stop early: SIGUSR1, SIGTERM, SIGINT. They are blocked and looked for
// between steps; no handler ever runs. A handler's frame would be written below the stack pointer
// of whatever it interrupts, and a signal that arrived inside oneDNN 2.6's generated products
// corrupted the heap.
#pragma once

namespace talaria::worker {

// Blocks them. Call once, before any thread starts: threads inherit the mask.
void block_stop_signals();
// The number of a stop signal that waits, or 0.
int stop_signal();

}  // namespace talaria::worker
