// SPDX-License-Identifier: Apache-2.0
// A process by a handle that no later process of the same number can have (pidfd_open(2)).
// <sys/pidfd.h> of glibc 2.36 cannot be used from C++: it declares without extern "C".
#pragma once

#include <sys/types.h>

#include "cluster/base/file.h"

namespace talaria::launch {

// Empty when there is no such process. Readable, for poll(2), once it has ended.
UniqueFd open_process(pid_t pid);
// False with errno when it has ended or belongs to another user.
bool signal_process(const UniqueFd& process, int signal);

}  // namespace talaria::launch
