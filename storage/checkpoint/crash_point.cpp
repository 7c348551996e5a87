// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/crash_point.h"

namespace talaria::storage {

const std::vector<std::string_view>& crash_point_names() {
  static const std::vector<std::string_view> names = {
      "checkpoint.begun", "shard.created", "shard.half_written", "shard.synced", "index.written",
      "manifest.written", "before_rename", "after_rename",       "before_prune", "prune.renamed"};
  return names;
}

}  // namespace talaria::storage
