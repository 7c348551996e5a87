// SPDX-License-Identifier: Apache-2.0
// The limits that control groups put on this process, version 1 and 2, the tightest on the way from
// its group to the top.
#pragma once

#include <cstdint>
#include <filesystem>

namespace talaria::inventory {

struct GroupLimits {
  double cores = 0.0;            // 0: no quota
  std::int64_t memory = 0;       // bytes; 0: none
  std::int64_t memory_free = 0;  // the least that is left below any of the limits
};

// Reads ROOT/proc/self/mountinfo, ROOT/proc/self/cgroup and the files that they lead to below ROOT.
GroupLimits read_group_limits(const std::filesystem::path& root);

}  // namespace talaria::inventory
