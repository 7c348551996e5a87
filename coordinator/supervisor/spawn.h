// SPDX-License-Identifier: Apache-2.0
// Starts talaria-launch processes. A launcher outlives the coordinator: it has its
// own session and nothing of the coordinator's but what is said here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "cluster/base/file.h"
#include "coordinator/supervisor/identity.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {

struct LauncherChild {
  pid_t pid = 0;
  UniqueFd pidfd;   // readable when it has ended
  UniqueFd errors;  // its standard error, a memory file
};

// Runs `program` as `user` in the spec's working directory, the spec on its standard input. A user
// other than the coordinator's own gets a clean environment (PATH, HOME, USER, LANG). Throws Error
// when the process cannot be made; a failing exec ends it with 127.
LauncherChild spawn_launcher(const std::string& program, const launch::AttemptSpec& spec,
                             const Identity& user);

}  // namespace talaria::coordinator
