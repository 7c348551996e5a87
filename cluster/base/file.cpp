// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/file.h"

#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria {

void FdTraits::close(Handle fd) noexcept { ::close(fd); }

UniqueFd open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  return UniqueFd(check_sys(::open(path.c_str(), flags | O_CLOEXEC, mode), "open", path.string()));
}

std::string read_file(const std::filesystem::path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    check_sys(got, "read", path.string());
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
  }
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    check_sys(put, "write", path.string());
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void sync_file(int fd, const std::filesystem::path& path) {
  check_sys(::fsync(fd), "fsync", path.string());
}

void sync_directory(const std::filesystem::path& path) {
  const UniqueFd fd = open_file(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
  sync_file(fd.get(), path);
}

void write_file_atomic(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  UniqueFd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  write_all(fd.get(), std::as_bytes(std::span(content)), temporary);
  sync_file(fd.get(), temporary);
  fd.reset();
  std::filesystem::rename(temporary, path);
  sync_directory(path.parent_path());
}

void append_line(const std::filesystem::path& path, std::string_view line) {
  const UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_APPEND);
  const std::string text = std::string(line) + "\n";
  write_all(fd.get(), std::as_bytes(std::span(text)), path);
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  struct stat info {};
  check_sys(::fstat(fd.get(), &info), "fstat", path.string());
  if (!S_ISREG(info.st_mode)) fail("{}: not a regular file", path.string());
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) fail_errno("mmap", path.string());
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace talaria
