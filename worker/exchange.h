// SPDX-License-Identifier: Apache-2.0
// Small agreements between ranks: strings gathered or broadcast, and "did anybody fail?".
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cluster/base/error.h"
#include "parallel/communicator.h"

namespace talaria::worker {

// Every rank's string, by rank, on all ranks. Collective.
std::vector<std::string> gather_strings(parallel::Communicator& group, const std::string& own);

// The root's string on all ranks. Collective.
std::string broadcast_string(parallel::Communicator& group, std::string text, int root);

// Runs `work` on this rank and finds out, collectively, whether it threw Error on any rank. If so
// the lowest such rank logs its message (so that a complaint all ranks share is printed once) and
// all ranks return the same exit code, kExitUsage or kExitFailed. Otherwise kExitDone.
int agree(parallel::Communicator& group, const std::function<void()>& work);

// A complaint that all ranks know of and one has logged, on its way to the end of the job: no
// Error, since nothing has to be said again.
struct AgreedFailure {
  int exit_code = kExitFailed;
};
// agree(), where the way back to the caller is long: throws AgreedFailure on all ranks.
void agree_or_throw(parallel::Communicator& group, const std::function<void()>& work);

}  // namespace talaria::worker
