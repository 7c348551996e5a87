// SPDX-License-Identifier: Apache-2.0
// Ranks as threads: runs one function on n ranks of a local group, and never hangs.
#pragma once

#include <functional>

#include "parallel/comm/local.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

// Runs fn(rank, comm) on n threads and returns when all have returned. When one throws, the group
// is aborted, so that the others' waits throw too, and the first exception is rethrown here. When
// not all have returned after `timeout_seconds`, prints which ranks are still running and aborts
// the process.
void run_ranks(int n, const std::function<void(int rank, Communicator& comm)>& fn,
               double timeout_seconds = 60, const SharedOptions& options = {});

}  // namespace talaria::parallel
