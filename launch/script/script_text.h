// SPDX-License-Identifier: Apache-2.0
// The parts of a script that are the same for every job.
#pragma once

#include <string>

namespace talaria::launch {

// Functions `stop`, `run` and `nap` of the script. `start` stands before the command that runs the
// ranks.
std::string signals_text(const std::string& start);

// Function `train NAME FOLDER RESTARTS COMMAND...`. It calls `stopped` for exit code 75, whose
// body is `stopped_body`.
std::string train_text(const std::string& stopped_body);

}  // namespace talaria::launch
