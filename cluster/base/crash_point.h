// SPDX-License-Identifier: Apache-2.0
// Named places in production code where a test can kill the process (SIGKILL: no cleanup, nothing
// flushed), so that each crash has a test. Unarmed they cost one atomic load. A program has one
// list of the names that it may pass.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace talaria {

// The `hit`-th time (from 1) that this process passes the point, it dies by SIGKILL. Call it once,
// early, from a command line option or a variable that main read. `names` are all of this program;
// it must outlive the process's last crash_point(). Throws UsageError for an unknown name or
// hit < 1.
void arm_crash_point(const std::vector<std::string_view>& names, const std::string& name, int hit);

// "NAME:HIT[:RANK[:ATTEMPT]]", as options and the environment say it: RANK is 0 when not given, and
// without ATTEMPT the point is armed in every attempt.
struct CrashOrder {
  std::string name;
  int hit = 0;
  int rank = 0;
  int attempt = 0;  // 0: every one
};
// Throws UsageError, beginning with `where`, for another form.
CrashOrder parse_crash_order(const std::string& text, const std::string& where);

// Marks the place. Any thread.
void crash_point(std::string_view name);

// What an armed run that ends all the same must say, exiting with kExitFailed: "crash point
// index.written: armed for hit 3, reached 1 times". Empty when nothing is armed.
std::string unreached_crash_point();

// False when nothing was armed; a process in which it would be true is dead.
inline bool crash_point_was_missed() { return !unreached_crash_point().empty(); }

}  // namespace talaria
