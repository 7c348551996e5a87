// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace talaria::worker {

// This process's resident memory in bytes, or 0 where /proc does not tell.
std::int64_t resident_bytes();

}  // namespace talaria::worker
