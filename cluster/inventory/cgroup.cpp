// SPDX-License-Identifier: Apache-2.0
#include "cluster/inventory/cgroup.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cluster/inventory/small_read.h"

namespace talaria::inventory {
namespace {

namespace fs = std::filesystem;

// Version 1 says "no limit" with the largest multiple of a page.
constexpr std::int64_t kUnlimited = std::int64_t{1} << 60;

// A mounted hierarchy: where, and which controllers ("" alone: version 2, all of them).
struct Hierarchy {
  fs::path mount_point;
  std::string mount_root;  // the group that the mount point shows
  std::vector<std::string> controllers;
};

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t comma = text.find(',', begin);
    parts.push_back(text.substr(begin, comma - begin));
    if (comma == std::string::npos) return parts;
    begin = comma + 1;
  }
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// mountinfo(5): id parent major:minor root mount-point options [optional...] - type source options
std::vector<Hierarchy> mounted_hierarchies(const fs::path& root) {
  std::vector<Hierarchy> found;
  for (const std::string& line : lines_of(read_or_empty(root / "proc/self/mountinfo"))) {
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type == "cgroup2") found.push_back({words[4], words[3], {""}});
    if (type == "cgroup") found.push_back({words[4], words[3], split_commas(dash[3])});
  }
  return found;
}

// The group of this process in the hierarchy with `controller`: "/user.slice/job".
std::optional<std::string> group_of(const fs::path& root, const std::string& controller) {
  for (const std::string& line : lines_of(read_or_empty(root / "proc/self/cgroup"))) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool match =
        controller.empty() ? controllers.empty() : has(split_commas(controllers), controller);
    if (match) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The folders of this process's group and of all groups above it, as far as the mount shows them.
// In a container the group's own path may lead nowhere; the mount point is then the group itself.
std::vector<fs::path> folders_to_top(const fs::path& root, const Hierarchy& hierarchy,
                                     const std::string& controller) {
  std::vector<fs::path> folders;
  const std::optional<std::string> group = group_of(root, controller);
  if (!group) return folders;
  const fs::path top = root / hierarchy.mount_point.relative_path();
  fs::path inner = *group;
  if (hierarchy.mount_root != "/") {
    const fs::path relative = inner.lexically_relative(hierarchy.mount_root);
    inner = relative.empty() || *relative.begin() == ".." ? fs::path("/") : "/" / relative;
  }
  std::error_code error;
  for (fs::path at = inner.relative_path(); !at.empty() && at != "."; at = at.parent_path()) {
    if (fs::is_directory(top / at, error)) folders.push_back(top / at);
  }
  folders.push_back(top);
  return folders;
}

void tighten_cores(GroupLimits& limits, std::optional<std::int64_t> quota,
                   std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return;
  const double cores = static_cast<double>(*quota) / static_cast<double>(*period);
  limits.cores = limits.cores > 0.0 ? std::min(limits.cores, cores) : cores;
}

void tighten_memory(GroupLimits& limits, std::optional<std::int64_t> most,
                    std::optional<std::int64_t> used) {
  if (!most || *most < 0 || *most >= kUnlimited) return;
  const std::int64_t free = std::max<std::int64_t>(0, *most - used.value_or(0));
  limits.memory_free = limits.memory > 0 ? std::min(limits.memory_free, free) : free;
  limits.memory = limits.memory > 0 ? std::min(limits.memory, *most) : *most;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  return whole_number(read_or_empty(file));
}

// What a group uses beyond the page cache that it would give back.
std::optional<std::int64_t> used_memory(const fs::path& usage_file, const fs::path& stat_file,
                                        const std::string& reclaimable) {
  const std::optional<std::int64_t> usage = number_in(usage_file);
  if (!usage) return usage;
  for (const std::string& line : lines_of(read_or_empty(stat_file))) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() != 2 || words[0] != reclaimable) continue;
    return std::max<std::int64_t>(0, *usage - whole_number(words[1]).value_or(0));
  }
  return usage;
}

void read_version_2(const fs::path& folder, GroupLimits& limits) {
  const std::vector<std::string> quota = words_of(read_or_empty(folder / "cpu.max"));
  if (quota.size() == 2) tighten_cores(limits, whole_number(quota[0]), whole_number(quota[1]));
  tighten_memory(limits, number_in(folder / "memory.max"),
                 used_memory(folder / "memory.current", folder / "memory.stat", "inactive_file"));
}

}  // namespace

GroupLimits read_group_limits(const fs::path& root) {
  GroupLimits limits;
  for (const Hierarchy& hierarchy : mounted_hierarchies(root)) {
    if (has(hierarchy.controllers, "")) {
      for (const fs::path& at : folders_to_top(root, hierarchy, "")) read_version_2(at, limits);
    }
    if (has(hierarchy.controllers, "cpu")) {
      for (const fs::path& at : folders_to_top(root, hierarchy, "cpu")) {
        tighten_cores(limits, number_in(at / "cpu.cfs_quota_us"),
                      number_in(at / "cpu.cfs_period_us"));
      }
    }
    if (has(hierarchy.controllers, "memory")) {
      for (const fs::path& at : folders_to_top(root, hierarchy, "memory")) {
        tighten_memory(
            limits, number_in(at / "memory.limit_in_bytes"),
            used_memory(at / "memory.usage_in_bytes", at / "memory.stat", "total_inactive_file"));
      }
    }
  }
  return limits;
}

}  // namespace talaria::inventory
