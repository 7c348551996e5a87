// SPDX-License-Identifier: Apache-2.0
// What a run leaves in the world, looked at from outside: its processes under /proc, its files, its
// events. Nothing here asks Talaria.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <sys/types.h>

namespace talaria::kill_table {

// What a process of a run is.
enum class Role { kRank, kRankParent, kMpirun, kLauncher, kOther };

struct Process {
  pid_t pid = 0;
  Role role = Role::kOther;
  int rank = -1;  // of kRank and kRankParent
  std::string attempt_id;
};

// All processes that carry the id of an attempt of this run, and the launcher that works in it.
std::vector<Process> processes_of(const std::filesystem::path& run);
std::optional<Process> find(const std::filesystem::path& run, Role role, int rank = -1);

// Ids of the run's attempts so far, from what the launchers wrote down.
std::set<std::string> attempt_ids(const std::filesystem::path& run);

// Objects of a .jsonl file; lines that do not parse are left out.
std::vector<boost::json::object> read_lines(const std::filesystem::path& file);
std::vector<boost::json::object> events(const std::filesystem::path& run, const std::string& kind);

// What these attempts have in /dev/shm, and all that is in the temporary directory, which the table
// has for itself.
std::set<std::string> scratch_paths(const std::set<std::string>& ids);

// The folders of this attempt's control groups, where the launcher made any.
std::vector<std::filesystem::path> control_groups(const std::string& attempt_id);

}  // namespace talaria::kill_table
