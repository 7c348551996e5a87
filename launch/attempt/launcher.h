// SPDX-License-Identifier: Apache-2.0
// One attempt from its spec to its exit.json, in steps that may be interrupted anywhere and are
// then gone on with by the next launcher (docs/orchestrator.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/attempt/attempt.h"

namespace talaria::launch {

inline constexpr int kExitHeld = 3;  // another launcher has the run directory

// The places at which a test kills the launcher, in the order in which it passes them.
const std::vector<std::string_view>& launcher_crash_points();

// Returns kExitDone once exit.json is there, whatever it says; kExitHeld after a line on stderr
// that names the holder. Throws Error where not even an exit.json could be written. `environment`
// ("NAME=value") is the command's.
int run_launcher(const AttemptSpec& spec, const std::vector<std::string>& environment);

}  // namespace talaria::launch
