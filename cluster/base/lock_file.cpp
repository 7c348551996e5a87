// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria {

std::string host_name() {
  char name[256] = {};
  check_sys(::gethostname(name, sizeof name - 1), "gethostname", "");
  return name;
}

LockFile::LockFile(const std::filesystem::path& path, const std::string& what,
                   const std::string& remedy)
    : fd_(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW)) {
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail_errno("flock", path.string());
    fail_usage("{}: in use by {}; {}", what, one_line(read_file(path)), remedy);
  }
  const std::string holder = fmt::format("pid {} on {}", ::getpid(), host_name());
  check_sys(::ftruncate(fd_.get(), 0), "ftruncate", path.string());
  write_all(fd_.get(), std::as_bytes(std::span(holder)), path);
}

}  // namespace talaria
