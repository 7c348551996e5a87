// SPDX-License-Identifier: Apache-2.0
// `talaria-launch rank`: one process beside each rank. It opens the rank's log, starts the worker,
// passes requests on to it, and when the worker is dead says what it died of and in the middle of
// what. It lives where the rank lives, on any node, and outlives it by a millisecond.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace talaria::launch {

struct ShimOptions {
  int rank = 0;
  std::filesystem::path attempt_folder;
  std::string attempt_id;  // empty: none was set; then the rank has no scratch folder
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "NAME=value"
};

// Returns the worker's exit code (0 for 75, stopped with a checkpoint, which the record tells), or
// dies of the signal that killed the worker. Throws Error when the worker could not be started.
int run_rank(const ShimOptions& options);

}  // namespace talaria::launch
