// SPDX-License-Identifier: Apache-2.0
// Ends an attempt's processes for certain. The launcher is a subreaper: whatever an attempt starts
// becomes its child when the parent in between dies, so "no child is left" proves that nothing is
// left of what this launcher started; what an earlier, killed launcher started is known by its
// environment and control group.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "launch/attempt/cgroup.h"

namespace talaria::launch {

// Collects all children, expected or not, and remembers how the command ended.
class Reaper {
 public:
  void set_command(pid_t pid) { command_ = pid; }
  pid_t command() const { return command_; }
  // Takes what has ended, without waiting. True while a child is left.
  bool collect();
  // The command's wait status, once it has ended.
  std::optional<int> command_status() const { return status_; }

 private:
  pid_t command_ = 0;
  std::optional<int> status_;
};

// Kills every process of the attempt until none is left; after `seconds` returns the pids of those
// that are (the kernel holds them, or they belong to another user).
std::vector<pid_t> end_processes(const std::string& attempt_id, const AttemptCgroup& cgroup,
                                 Reaper& reaper, double seconds);

}  // namespace talaria::launch
