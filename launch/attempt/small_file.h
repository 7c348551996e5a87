// SPDX-License-Identifier: Apache-2.0
// The small files of an attempt. They lie in a user's folder, where anything may stand under any
// name (a link to another's file, a pipe that blocks, 10 GB), and a daemon of root reads them:
// what is opened is a regular file below the run directory or nothing. Written whole or not at
// all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "cluster/base/file.h"

namespace talaria::launch {

inline constexpr std::size_t kMostFileBytes = std::size_t{1} << 20;

// Opens folder/relative for reading; no part of `relative` may be a symbolic link. An empty handle
// when it is missing. Throws Error when it is no regular file. Never blocks.
UniqueFd open_small_file(const std::filesystem::path& folder,
                         const std::filesystem::path& relative);
// Its content, or nothing when it is missing; throws Error when it is above kMostFileBytes.
std::optional<std::string> read_small_file(const std::filesystem::path& folder,
                                           const std::filesystem::path& relative);
// The end of it: at most `most` bytes, of a file of any size. Empty when it cannot be read.
std::string read_file_end(const std::filesystem::path& folder,
                          const std::filesystem::path& relative, std::size_t most);

// A file that is to be written later, whose place on the disk is taken now under the name
// PATH.tmp, so that a disk that fills up meanwhile does not matter.
class ReservedFile {
 public:
  // A disk that has no `bytes` left now is no error: write() will say so. Throws Error when the
  // name cannot be made.
  ReservedFile(std::filesystem::path path, unsigned mode, std::size_t bytes);
  // PATH gets `content` in one step; it is on the disk when this returns if `sync`. Once.
  void write(std::string_view content, bool sync);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  UniqueFd fd_;
};

// The same without the wait between.
void write_small_file(const std::filesystem::path& path, unsigned mode, std::string_view content,
                      bool sync);

}  // namespace talaria::launch
