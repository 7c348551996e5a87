// SPDX-License-Identifier: Apache-2.0
// Starts the command that starts the ranks: in its own process group, in the attempt's control
// groups, dead as soon as the launcher is.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "launch/attempt/attempt.h"
#include "launch/attempt/cgroup.h"

namespace talaria::launch {

// As exec(3) takes them; they point into `texts`.
std::vector<char*> exec_words(const std::vector<std::string>& texts);

// `base` ("NAME=value") with the spec's variables and TALARIA_ATTEMPT_ID set.
std::vector<std::string> attempt_environment(const std::vector<std::string>& base,
                                             const AttemptSpec& spec);

// Returns the pid once the program itself runs, with standard output and error of this process.
// Throws Error "cannot start mpirun: ..." where it cannot.
pid_t start_command(const AttemptSpec& spec, const std::vector<std::string>& environment,
                    AttemptCgroup& cgroup);

}  // namespace talaria::launch
