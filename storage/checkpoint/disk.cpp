// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/disk.h"

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cluster/base/file.h"

namespace talaria::storage {

bool is_shortage(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

void fail_disk_full(const std::filesystem::path& path, std::int64_t needed, int error) {
  const std::filesystem::path folder = path.parent_path();
  throw DiskFull(fmt::format(
      "write {}: {} (errno {}): {} bytes needed, {} free. Free space there, or set another run "
      "directory (--run-dir); older checkpoints are intact",
      path.string(), std::strerror(error), error, needed, free_bytes(folder)));
}

void fail_write(const char* call, const std::filesystem::path& path, std::int64_t needed,
                int error) {
  if (is_shortage(error)) fail_disk_full(path, needed, error);
  fail_errno(call, path.string(), error);
}

void preallocate(int fd, std::int64_t size, const std::filesystem::path& path) {
  if (size == 0) return;
  int rc = 0;
  do {
    rc = ::posix_fallocate(fd, 0, size);
  } while (rc == EINTR);
  if (rc != 0) fail_write("posix_fallocate", path, size, rc);
}

void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const auto size = static_cast<std::int64_t>(bytes.size());
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) fail_write("open", path, size, errno);
  preallocate(fd.get(), size, path);
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_write("write", path, size, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  if (::fsync(fd.get()) != 0) fail_write("fsync", path, size, errno);
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  check_sys(::rename(from.c_str(), to.c_str()), "rename", from.string() + " to " + to.string());
}

void remove_tree(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) fail("remove {}: {}", path.string(), error.message());
}

std::vector<std::filesystem::path> folder_entries(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> entries;
  std::filesystem::directory_iterator next(folder, error);
  if (error == std::errc::no_such_file_or_directory) return entries;
  while (!error && next != std::filesystem::directory_iterator()) {
    entries.push_back(next->path());
    next.increment(error);
  }
  if (error) fail("read folder {}: {}", folder.string(), error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::int64_t free_bytes(const std::filesystem::path& path) {
  struct statvfs info {};
  check_sys(::statvfs(path.empty() ? "." : path.c_str(), &info), "statvfs", path.string());
  return static_cast<std::int64_t>(info.f_bavail * info.f_frsize);
}

}  // namespace talaria::storage
