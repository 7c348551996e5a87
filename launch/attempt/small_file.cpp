// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/small_file.h"

#include <algorithm>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

struct stat status_of(int fd, const fs::path& path) {
  struct stat info {};
  check_sys(::fstat(fd, &info), "fstat", path.string());
  return info;
}

// At most `most` bytes from `offset`.
std::string read_from(int fd, off_t offset, std::size_t most, const fs::path& path) {
  std::string content;
  char buffer[1 << 14];
  while (content.size() < most) {
    const ssize_t got = ::pread(fd, buffer, std::min(sizeof buffer, most - content.size()), offset);
    if (got < 0 && errno == EINTR) continue;
    check_sys(got, "read", path.string());
    if (got == 0) break;
    content.append(buffer, static_cast<std::size_t>(got));
    offset += got;
  }
  return content;
}

}  // namespace

UniqueFd open_small_file(const fs::path& folder, const fs::path& relative) {
  const fs::path whole = folder / relative;
  UniqueFd at(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (auto part = relative.begin(); at && part != relative.end(); ++part) {
    const bool last = std::next(part) == relative.end();
    const int flags = last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY;
    at.reset(::openat(at.get(), part->c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!at) {
    if (errno == ENOENT) return at;
    fail_errno("open", whole.string());
  }
  if (!S_ISREG(status_of(at.get(), whole).st_mode)) fail("{}: not a regular file", whole.string());
  return at;
}

std::optional<std::string> read_small_file(const fs::path& folder, const fs::path& relative) {
  const UniqueFd fd = open_small_file(folder, relative);
  if (!fd) return std::nullopt;
  std::string content = read_from(fd.get(), 0, kMostFileBytes + 1, folder / relative);
  if (content.size() > kMostFileBytes) {
    fail("{}: above {} bytes", (folder / relative).string(), kMostFileBytes);
  }
  return content;
}

std::string read_file_end(const fs::path& folder, const fs::path& relative, std::size_t most) {
  try {
    const UniqueFd fd = open_small_file(folder, relative);
    if (!fd) return {};
    const auto size = status_of(fd.get(), folder / relative).st_size;
    const off_t start = std::max<off_t>(0, size - static_cast<off_t>(most));
    return read_from(fd.get(), start, most, folder / relative);
  } catch (const Error&) {
    return {};
  }
}

ReservedFile::ReservedFile(fs::path path, unsigned mode, std::size_t bytes)
    : path_(std::move(path)),
      temporary_(path_.string() + ".tmp"),
      fd_(open_file(temporary_, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode)) {
  // Not every file system can; then the space is looked for when it is written.
  if (bytes > 0) static_cast<void>(::fallocate(fd_.get(), 0, 0, static_cast<off_t>(bytes)));
}

void ReservedFile::write(std::string_view content, bool sync) {
  write_all(fd_.get(), std::as_bytes(std::span(content)), temporary_);
  check_sys(::ftruncate(fd_.get(), static_cast<off_t>(content.size())), "ftruncate",
            temporary_.string());
  if (sync) sync_file(fd_.get(), temporary_);
  fd_.reset();
  check_sys(::rename(temporary_.c_str(), path_.c_str()), "rename", temporary_.string());
  if (sync) sync_directory(path_.parent_path());
}

void write_small_file(const fs::path& path, unsigned mode, std::string_view content, bool sync) {
  ReservedFile(path, mode, 0).write(content, sync);
}

}  // namespace talaria::launch
