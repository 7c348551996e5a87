// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/crash_point.h"

namespace talaria::storage {
namespace {

std::vector<std::string_view> all_names() {
  std::vector<std::string_view> names = crash_point_names();
  const auto& loop = loop_crash_point_names();
  names.insert(names.end(), loop.begin(), loop.end());
  return names;
}

}  // namespace

const std::vector<std::string_view>& crash_point_names() {
  static const std::vector<std::string_view> names = {
      "checkpoint.begun", "shard.created", "shard.half_written", "shard.synced", "index.written",
      "manifest.written", "before_rename", "after_rename",       "before_prune", "prune.renamed"};
  return names;
}

const std::vector<std::string_view>& loop_crash_point_names() {
  static const std::vector<std::string_view> names = {"step.begin", "rollout.begin", "score.begin",
                                                      "update.begin", "step.end"};
  return names;
}

void arm_crash_point(const std::string& name, int hit) {
  static const std::vector<std::string_view> names = all_names();
  talaria::arm_crash_point(names, name, hit);
}

}  // namespace talaria::storage
