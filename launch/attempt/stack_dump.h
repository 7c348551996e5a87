// SPDX-License-Identifier: Apache-2.0
// The stacks of all threads of a process of the same user, by libdw: function names and modules,
// one line a frame. A stopped process is left stopped, a running one goes on running.
#pragma once

#include <cstdio>

#include <sys/types.h>

namespace talaria::launch {

// Writes as it goes; what cannot be found out is a line too. May take long, or hang with the
// kernel: call it in a process that can be killed.
void dump_stacks(pid_t pid, std::FILE* out);

}  // namespace talaria::launch
