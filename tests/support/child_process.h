// SPDX-License-Identifier: Apache-2.0
// Runs a program for a test: its own process group, output captured, a watchdog that kills the
// group.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace talaria {

struct ChildResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  bool timed_out = false;
  std::string output;  // stdout and stderr, in order
};

// Runs `argv` with Open MPI's settings for root and for more ranks than cores. While it runs,
// `watch(pid, output)` is called every few milliseconds with what came so far; it may send signals.
// After `timeout_seconds` the process group is killed.
ChildResult run_child(
    const std::vector<std::string>& argv, double timeout_seconds,
    const std::function<void(pid_t pid, const std::string& output)>& watch = nullptr);

}  // namespace talaria
