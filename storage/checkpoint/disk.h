// SPDX-License-Identifier: Apache-2.0
// Writing on a disk that may be full: every shortage becomes a DiskFull with the remedy in it; and
// the few folder operations of a checkpoint, each with an Error that names its path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "cluster/base/error.h"

namespace talaria::storage {

// No space, quota or file-size limit: what() names path, bytes needed and free, and the remedy.
class DiskFull : public Error {
 public:
  using Error::Error;
};

// ENOSPC, EDQUOT and EFBIG: shortages that a user can end.
bool is_shortage(int error);

[[noreturn]] void fail_disk_full(const std::filesystem::path& path, std::int64_t needed, int error);

// Throws DiskFull for a shortage, else Error "call path: reason".
[[noreturn]] void fail_write(const char* call, const std::filesystem::path& path,
                             std::int64_t needed, int error);

// Reserves the bytes [0, size) of an open file, so that later writes cannot run out of space.
void preallocate(int fd, std::int64_t size, const std::filesystem::path& path);

// A new file of exactly these bytes, synced. An existing file is an Error.
void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

// rename(2); the folder is not synced.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);

// Removes a folder and what lies in it; throws Error when something stays.
void remove_tree(const std::filesystem::path& path);

// What lies in a folder, by name in ascending order. A missing folder has nothing.
std::vector<std::filesystem::path> folder_entries(const std::filesystem::path& folder);

// The bytes that an unprivileged writer could still put there.
std::int64_t free_bytes(const std::filesystem::path& path);

}  // namespace talaria::storage
