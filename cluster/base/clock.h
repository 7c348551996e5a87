// SPDX-License-Identifier: Apache-2.0
// Seconds as double: monotonic for durations, wall for records.
#pragma once

#include <chrono>

namespace talaria {

inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds since 1970-01-01 UTC.
inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace talaria
