// SPDX-License-Identifier: Apache-2.0
// How fast a folder's disk really takes data: measured, not guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "cluster/base/error.h"

namespace talaria::inventory {

struct DiskSpeed {
  std::int64_t bytes = 0;  // written and synced
  double seconds = 0.0;    // with the fsync at the end
  bool direct = false;     // past the page cache (O_DIRECT)
  double bytes_per_second() const {
    return seconds > 0.0 ? static_cast<double>(bytes) / seconds : 0;
  }
};

// Writes up to `most_bytes` to a file of `folder` that has no name, so that nothing is left behind
// however this ends, and syncs it; stops after about `most_seconds`. Never takes more than a
// quarter of what is free. The failure says why nothing can be written there.
Result<DiskSpeed> measure_disk(const std::filesystem::path& folder,
                               std::int64_t most_bytes = std::int64_t{256} << 20,
                               double most_seconds = 1.0);

// "" when a file can be made in the folder, which is tried with one that has no name; else why not.
std::string why_not_writable(const std::filesystem::path& folder);

}  // namespace talaria::inventory
