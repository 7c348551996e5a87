// SPDX-License-Identifier: Apache-2.0
// The control groups of an attempt, where this process may make any: they limit the memory of its
// ranks, count OOM kills, and name every process that it has. Version 2 and the memory controller
// of version 1; machines have one or the other or, in part, both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace talaria::launch {

// Where this process stands in a hierarchy.
struct CgroupPlace {
  int version = 2;
  std::filesystem::path folder;
  friend bool operator==(const CgroupPlace&, const CgroupPlace&) = default;
};

// From the texts of /proc/self/cgroup and /proc/self/mountinfo; what cannot be understood is left
// out. Pure.
std::vector<CgroupPlace> find_cgroups(std::string_view cgroup, std::string_view mountinfo);
// Those of this process.
std::vector<CgroupPlace> own_cgroups();

// How many processes the kernel has killed in this process's own groups for want of memory, whoever
// set the limit. Only a growth says something. 0 where nobody counts.
std::int64_t oom_kills(const std::vector<CgroupPlace>& places);

class AttemptCgroup {
 public:
  AttemptCgroup() = default;
  // Makes a group of this name below (in version 2 else beside) each of `places`, or finds it
  // again. memory_limit > 0: bytes for all its processes together. Never fails: where this process
  // has no right to it there is no group, or one without a limit.
  static AttemptCgroup make(const std::vector<CgroupPlace>& places, const std::string& name,
                            std::int64_t memory_limit);
  // The groups of this name that an earlier process made; `folders` as its folders() said.
  static AttemptCgroup find(const std::vector<std::string>& folders, const std::string& name);

  std::vector<std::string> folders() const;
  // Moves a child in, with all that it will start. A group that refuses it is given up.
  void admit(pid_t pid);
  bool limits_memory() const;
  std::vector<pid_t> processes() const;
  // SIGKILL to every process in them; in version 2 at once, so that no process is too quick.
  void kill() const;
  std::int64_t oom_kills() const;
  // Once no process is left in them. Waits a little for the kernel; false if one is still there.
  bool remove();

 private:
  std::vector<CgroupPlace> groups_;
  std::optional<std::filesystem::path> limited_by_;
};

}  // namespace talaria::launch
