// SPDX-License-Identifier: Apache-2.0
#include "worker/memory_use.h"

#include <fstream>

#include <unistd.h>

namespace talaria::worker {

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace talaria::worker
