// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace talaria::launch {

UniqueFd open_process(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool signal_process(const UniqueFd& process, int signal) {
  return ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0;
}

}  // namespace talaria::launch
