// SPDX-License-Identifier: Apache-2.0
// Runs another program to its end and keeps what it said. No shell in between: an argument arrives
// as it is.
#pragma once

#include <string>
#include <vector>

namespace talaria {

struct Captured {
  int exit_code = 0;       // 127: the program could not be started, and `err` says why
  int signal = 0;          // that ended it; exit_code is then 128 + signal
  bool timed_out = false;  // it was killed (SIGKILL) when the time was up
  std::string out, err;    // at most 1 MiB each; what comes after is read and dropped
};

// Runs argv[0], looked for along PATH, with `input` as standard input, a process group of its own,
// no blocked signal and no other descriptor of ours (all are close-on-exec). What it leaves behind
// in its process group is killed. Throws Error when a system call of ours fails.
Captured run_captured(const std::vector<std::string>& argv, double timeout_seconds,
                      const std::string& input = "");

}  // namespace talaria
