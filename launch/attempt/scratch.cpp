// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/scratch.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/command_line.h"

namespace talaria::launch {

namespace {

namespace fs = std::filesystem;

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

}  // namespace

void make_scratch(const std::string& attempt_id) {
  const std::string path = attempt_scratch(attempt_id);
  if (::mkdir(path.c_str(), 0700) == 0) return;
  if (errno != EEXIST) fail_errno("mkdir", path);
  struct stat info {};
  check_sys(::lstat(path.c_str(), &info), "lstat", path);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid()) {
    fail("{}: exists already and is not a folder of this user", path);
  }
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
