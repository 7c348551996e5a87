// SPDX-License-Identifier: Apache-2.0
// Named places in production code where a test can kill the process (SIGKILL: no cleanup, nothing
// flushed), so that each crash has a test. Unarmed they cost one atomic load.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace talaria::storage {

// The names, in the order in which a save passes them.
const std::vector<std::string_view>& crash_point_names();

// The `hit`-th time (from 1) that this process passes the point, it dies by SIGKILL. Call it once,
// early, from a command line option. Throws UsageError for an unknown name or hit < 1.
void arm_crash_point(const std::string& name, int hit);

// Marks the place. Any thread.
void crash_point(std::string_view name);

// What an armed run that ends all the same must say, exiting with kExitFailed: "crash point
// index.written: armed for hit 3, reached 1 times". Empty when nothing is armed.
std::string unreached_crash_point();

// False when nothing was armed; a process in which it would be true is dead.
inline bool crash_point_was_missed() { return !unreached_crash_point().empty(); }

}  // namespace talaria::storage
