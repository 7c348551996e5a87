// SPDX-License-Identifier: Apache-2.0
// Files and folders: every call is checked, and every Error names the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "cluster/base/handle.h"

namespace talaria {

struct FdTraits {
  using Handle = int;
  static Handle empty() { return -1; }
  static void close(Handle fd) noexcept;
};
using UniqueFd = UniqueHandle<FdTraits>;

// open(2) with O_CLOEXEC; `flags` and `mode` as there.
UniqueFd open_file(const std::filesystem::path& path, int flags, unsigned mode = 0644);

std::string read_file(const std::filesystem::path& path);

// Writes all of `bytes` at the descriptor's position; retries short writes and EINTR.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// fsync(2). A failed fsync is never retried: the kernel may have dropped the pages.
void sync_file(int fd, const std::filesystem::path& path);
void sync_directory(const std::filesystem::path& path);

// The file holds either its old or its new content after a crash: temporary name, fsync, rename,
// fsync of the folder.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

// Appends one line by a single write(2), creating the file if needed.
void append_line(const std::filesystem::path& path, std::string_view line);

// A whole file mapped read-only. An empty file gives an empty view.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace talaria
