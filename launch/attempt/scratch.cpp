// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/scratch.h"

#include <filesystem>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/command_line.h"

namespace talaria::launch {

namespace fs = std::filesystem;

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
    if (entry == name || entry.starts_with(name + ".")) found.push_back(at->path());
  }
  for (const fs::path& path : found) {
    fs::remove_all(path, error);
    if (error) log_warning("cannot remove {}: {}", path.string(), error.message());
  }
}

}  // namespace talaria::launch
