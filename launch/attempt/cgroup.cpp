// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/cgroup.h"

#include <algorithm>
#include <csignal>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "launch/attempt/pidfd.h"
#include "launch/attempt/proc.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

bool has_word(const std::string& list, const std::string& word) {
  const std::vector<std::string> words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct Mount {
  int version = 2;
  fs::path root;  // the part of the hierarchy that is mounted
  fs::path point;
};

// "36 35 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
std::optional<Mount> read_mount(const std::string& line) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string::npos) return std::nullopt;
  const std::vector<std::string> before = split(line.substr(0, dash), ' ');
  const std::vector<std::string> after = split(line.substr(dash + 3), ' ');
  if (before.size() < 5 || after.size() < 3) return std::nullopt;
  if (after[0] == "cgroup2") return Mount{2, before[3], before[4]};
  if (after[0] == "cgroup" && has_word(after[2], "memory")) return Mount{1, before[3], before[4]};
  return std::nullopt;
}

// The folder of `path` (of the hierarchy) under the mount, unless it lies outside.
std::optional<fs::path> under(const Mount& mount, const fs::path& path) {
  const fs::path relative = path.lexically_relative(mount.root);
  if (relative.empty() || relative.begin()->string() == "..") return std::nullopt;
  return relative == "." ? mount.point : mount.point / relative;
}

bool write_value(const fs::path& file, const std::string& value) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

// The number behind `word` in a file of lines "word number".
std::int64_t counter(const fs::path& file, const std::string& word) {
  std::istringstream lines(read_proc_file(file.string()));
  std::string name;
  for (std::int64_t value = 0; lines >> name >> value;) {
    if (name == word) return value;
  }
  return 0;
}

std::int64_t oom_kills_of(const CgroupPlace& place) {
  return counter(place.folder / (place.version == 2 ? "memory.events" : "memory.oom_control"),
                 "oom_kill");
}

bool set_limit(const CgroupPlace& place, std::int64_t bytes) {
  const std::string value = std::to_string(bytes);
  if (place.version == 2) {
    // Without swap, so that the limit is one. Not every kernel has it.
    static_cast<void>(write_value(place.folder / "memory.swap.max", "0"));
    return write_value(place.folder / "memory.max", value);
  }
  const bool limited = write_value(place.folder / "memory.limit_in_bytes", value);
  static_cast<void>(write_value(place.folder / "memory.memsw.limit_in_bytes", value));
  return limited;
}

// Where groups may be made: below our own; in version 2 a group with processes cannot give its
// controllers to a child, but the group above it has them.
std::vector<fs::path> candidates(const CgroupPlace& place) {
  if (place.version == 1) return {place.folder};
  return {place.folder, place.folder.parent_path()};
}

bool is_writable(const fs::path& folder) {
  return ::access((folder / "cgroup.procs").c_str(), R_OK | W_OK) == 0;
}

struct Made {
  std::optional<CgroupPlace> place;
  bool limited = false;
};

// A group without the limit still counts and kills, so it is kept where no better one can be had.
Made make_group(const CgroupPlace& place, const std::string& name, std::int64_t limit) {
  Made made;
  for (const fs::path& above : candidates(place)) {
    const CgroupPlace group{place.version, above / name};
    if (!is_writable(above)) continue;
    if (::mkdir(group.folder.c_str(), 0755) != 0 && errno != EEXIST) continue;
    if (place.version == 2 && limit > 0) {
      static_cast<void>(write_value(above / "cgroup.subtree_control", "+memory"));
    }
    const bool limited = limit > 0 && set_limit(group, limit);
    if (is_writable(group.folder) && (limited || !made.place)) {
      if (made.place) ::rmdir(made.place->folder.c_str());
      made = {group, limited};
      if (limited || limit == 0) break;
    } else {
      ::rmdir(group.folder.c_str());
    }
  }
  return made;
}

}  // namespace

std::vector<CgroupPlace> find_cgroups(std::string_view cgroup, std::string_view mountinfo) {
  std::vector<Mount> mounts;
  std::istringstream mount_lines{std::string(mountinfo)};
  for (std::string line; std::getline(mount_lines, line);) {
    if (auto mount = read_mount(line)) mounts.push_back(std::move(*mount));
  }
  std::vector<CgroupPlace> places;
  std::istringstream lines{std::string(cgroup)};
  for (std::string line; std::getline(lines, line);) {  // "4:memory:/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const int version = controllers.empty() ? 2 : 1;
    if (version == 1 && !has_word(controllers, "memory")) continue;
    for (const Mount& mount : mounts) {
      if (mount.version != version) continue;
      if (const auto folder = under(mount, line.substr(second + 1))) {
        places.push_back({version, *folder});
        break;
      }
    }
  }
  return places;
}

std::vector<CgroupPlace> own_cgroups() {
  return find_cgroups(read_proc_file("/proc/self/cgroup"), read_proc_file("/proc/self/mountinfo"));
}

std::int64_t oom_kills(const std::vector<CgroupPlace>& places) {
  std::int64_t most = 0;
  for (const CgroupPlace& place : places) most = std::max(most, oom_kills_of(place));
  return most;
}

AttemptCgroup AttemptCgroup::make(const std::vector<CgroupPlace>& places, const std::string& name,
                                  std::int64_t memory_limit) {
  AttemptCgroup cgroup;
  for (const CgroupPlace& place : places) {
    Made made = make_group(place, name, cgroup.limited_by_ ? 0 : memory_limit);
    if (!made.place) continue;
    if (made.limited) cgroup.limited_by_ = made.place->folder;
    cgroup.groups_.push_back(std::move(*made.place));
  }
  return cgroup;
}

AttemptCgroup AttemptCgroup::find(const std::vector<std::string>& folders,
                                  const std::string& name) {
  AttemptCgroup cgroup;
  for (const fs::path folder : folders) {
    if (folder.filename() != name || !is_writable(folder)) continue;
    const bool v2 = ::access((folder / "cgroup.controllers").c_str(), F_OK) == 0;
    cgroup.groups_.push_back({v2 ? 2 : 1, folder});
  }
  return cgroup;
}

std::vector<std::string> AttemptCgroup::folders() const {
  std::vector<std::string> list;
  for (const CgroupPlace& group : groups_) list.push_back(group.folder.string());
  return list;
}

void AttemptCgroup::admit(pid_t pid) {
  const auto refuses = [pid](const CgroupPlace& group) {
    if (write_value(group.folder / "cgroup.procs", std::to_string(pid))) return false;
    ::rmdir(group.folder.c_str());
    return true;
  };
  groups_.erase(std::remove_if(groups_.begin(), groups_.end(), refuses), groups_.end());
}

bool AttemptCgroup::limits_memory() const {
  return limited_by_ && std::any_of(groups_.begin(), groups_.end(), [&](const CgroupPlace& group) {
           return group.folder == *limited_by_;
         });
}

std::vector<pid_t> AttemptCgroup::processes() const {
  std::vector<pid_t> pids;
  for (const CgroupPlace& group : groups_) {
    std::istringstream list(read_proc_file((group.folder / "cgroup.procs").string()));
    for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
  }
  return pids;
}

void AttemptCgroup::kill() const {
  for (const CgroupPlace& group : groups_) {
    if (group.version == 2) static_cast<void>(write_value(group.folder / "cgroup.kill", "1"));
  }
  // What version 1 has left. The handle is opened before the list says again that the process is
  // in the group, so it is that process, not a later one of the same number.
  for (const pid_t pid : processes()) {
    const UniqueFd handle = open_process(pid);
    const std::vector<pid_t> still = processes();
    if (handle && std::find(still.begin(), still.end(), pid) != still.end()) {
      static_cast<void>(signal_process(handle, SIGKILL));
    }
  }
}

std::int64_t AttemptCgroup::oom_kills() const { return launch::oom_kills(groups_); }

bool AttemptCgroup::remove() {
  const auto gone = [](const CgroupPlace& group) {
    for (int tries = 0; tries < 50; ++tries) {
      if (::rmdir(group.folder.c_str()) == 0 || errno == ENOENT) return true;
      ::usleep(5000);  // its last process is dead, not yet forgotten
    }
    return false;
  };
  groups_.erase(std::remove_if(groups_.begin(), groups_.end(), gone), groups_.end());
  return groups_.empty();
}

}  // namespace talaria::launch
