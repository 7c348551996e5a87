// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/scratch.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/command_line.h"
#include "launch/attempt/proc.h"

namespace talaria::launch {

namespace {

namespace fs = std::filesystem;

constexpr double kYoungSeconds = 2.0;

// "-17-0": what follows the attempt in the name of a rank's segment.
bool is_segment_ending(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  for (int i = 0; i < 2; ++i) {
    if (!text.starts_with('-')) return false;
    text.remove_prefix(1);
    const std::size_t digits = std::min(text.find_first_not_of(kDigits), text.size());
    if (digits == 0) return false;
    text.remove_prefix(digits);
  }
  return text.empty();
}

// A folder of this user, or -1.
int open_folder(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  const bool own = fd && ::fstat(fd.get(), &info) == 0 && info.st_uid == ::geteuid();
  return own ? fd.release() : -1;
}

// By its birth where the file system knows it, else by its last change.
bool is_young(const UniqueFd& folder) {
  struct statx info {};
  if (::statx(folder.get(), "", AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &info) != 0) return true;
  const auto& since = (info.stx_mask & STATX_BTIME) != 0 ? info.stx_btime : info.stx_mtime;
  return wall_seconds() - static_cast<double>(since.tv_sec) < kYoungSeconds;
}

// Between its making and its holding a folder is young, or the daemon of mpirun that made it still
// waits for the other nodes; that one has the folder's path among its arguments.
bool is_being_made(const UniqueFd& folder, const fs::path& path) {
  return is_young(folder) || is_on_a_command_line(path.string());
}

// Folders of attempts whose processes were all killed, so that nobody holds them.
void remove_forsaken(const fs::path& place) {
  std::error_code error;
  for (fs::directory_iterator at(place, error), end; !error && at != end; at.increment(error)) {
    if (!at->path().filename().string().starts_with("talaria-j")) continue;
    const UniqueFd folder(open_folder(at->path()));
    if (!folder || is_being_made(folder, at->path())) continue;
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code ignored;
    fs::remove_all(at->path(), ignored);
  }
}

}  // namespace

Scratch::Scratch(std::string attempt_id) : attempt_id_(std::move(attempt_id)) {
  const std::string path = attempt_scratch(attempt_id_);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) fail_errno("mkdir", path);
  held_.reset(open_folder(path));
  if (!held_) fail("{}: exists already and is not a folder of this user", path);
  check_sys(::flock(held_.get(), LOCK_SH), "flock", path);
}

void Scratch::release() {
  const bool last = ::flock(held_.get(), LOCK_EX | LOCK_NB) == 0;
  if (last) {
    remove_scratch(attempt_id_);
    remove_forsaken(fs::path(attempt_scratch(attempt_id_)).parent_path());
  }
  held_.reset();
}

void remove_scratch(const std::string& attempt_id) {
  const std::string name = "talaria-" + attempt_id;
  std::vector<fs::path> found = {fs::path("/tmp") / name};
  std::error_code error;
  for (fs::directory_iterator at("/dev/shm", error), end; !error && at != end;
       at.increment(error)) {
    const std::string entry = at->path().filename().string();
    if (entry == name || (entry.starts_with(name) && is_segment_ending(entry.substr(name.size()))))
      found.push_back(at->path());
  }
  for (const fs::path& path : found) {
    fs::remove_all(path, error);
    if (error) log_warning("cannot remove {}: {}", path.string(), error.message());
  }
}

}  // namespace talaria::launch
