// SPDX-License-Identifier: Apache-2.0
// The file holds ten digits and a newline and is written in place, within one sector: a crash
// leaves the old number or the new one, and the lock's inode never changes.
#include "storage/checkpoint/fence.h"

#include <charconv>
#include <chrono>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "storage/checkpoint/disk.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFenceName = "fence";
// Far above what a rename and a sync take; only a stopped process holds the lock for longer.
constexpr double kPatienceSeconds = 30.0;
constexpr auto kRetry = std::chrono::milliseconds(2);

void lock(int fd, const fs::path& path) {
  const double deadline = monotonic_seconds() + kPatienceSeconds;
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  while (::fcntl(fd, F_OFD_SETLK, &range) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EACCES) fail_errno("fcntl(F_OFD_SETLK)", path.string());
    if (monotonic_seconds() > deadline) {
      fail("{}: another process has held its lock for {} s; end the older attempt of this run",
           path.string(), kPatienceSeconds);
    }
    std::this_thread::sleep_for(kRetry);
  }
}

// What an open fence says; an empty one was never raised.
int number_in(int fd, const fs::path& path) {
  char text[32];
  const ssize_t got = check_sys(::pread(fd, text, sizeof text, 0), "pread", path.string());
  if (got == 0) return 0;
  int number = -1;
  const auto [end, error] = std::from_chars(text, text + got, number);
  if (error != std::errc() || end != text + got - 1 || *end != '\n' || number < 0) {
    fail("{}: damaged; write the number of the run's newest attempt into it", path.string());
  }
  return number;
}

void write_number(int fd, int number, const fs::path& path) {
  const std::string text = fmt::format("{:010}\n", number);
  const ssize_t put = ::pwrite(fd, text.data(), text.size(), 0);
  const auto size = static_cast<ssize_t>(text.size());
  if (put != size) fail_write("write", path, size, put < 0 ? errno : ENOSPC);
  sync_file(fd, path);
}

// Empty where there is no fence.
UniqueFd open_fence(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd && errno != ENOENT) fail_errno("open", path.string());
  return fd;
}

}  // namespace

int read_fence(const fs::path& root) {
  const fs::path path = root / kFenceName;
  const UniqueFd fd = open_fence(path);
  return fd ? number_in(fd.get(), path) : 0;
}

void raise_fence(const fs::path& root, int attempt) {
  TALARIA_CHECK(attempt >= 1, "attempt {}", attempt);
  std::error_code error;
  fs::create_directories(root, error);
  if (error) fail_write("mkdir", root, 0, error.value());
  const fs::path path = root / kFenceName;
  const UniqueFd fd = open_file(path, O_RDWR | O_CREAT);
  lock(fd.get(), path);
  const int highest = number_in(fd.get(), path);
  if (highest > attempt) {
    fail_usage("{}: attempt {} may not begin: attempt {} has begun; take a higher number",
               path.string(), attempt, highest);
  }
  if (highest == attempt) return;
  write_number(fd.get(), attempt, path);
  sync_directory(root);
}

FencePass::FencePass(const fs::path& root, int attempt, const char* deed) {
  const fs::path path = root / kFenceName;
  fd_ = open_fence(path);
  if (!fd_) return;
  lock(fd_.get(), path);
  const int highest = number_in(fd_.get(), path);
  if (highest > attempt) {
    fail("{}: attempt {} may not {}: attempt {} has begun, and this one is over", path.string(),
         attempt, deed, highest);
  }
}

}  // namespace talaria::storage
