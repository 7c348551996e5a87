// SPDX-License-Identifier: Apache-2.0
// Lines of a text file, plain or compressed by zstd, read in one pass with bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "cluster/base/file.h"

namespace talaria::storage {

class LineReader {
 public:
  // `longest`: longer lines come in pieces of at most so many bytes, cut between UTF-8 characters.
  LineReader(const std::filesystem::path& path, bool zstd, std::size_t longest);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line with its '\n' (the last may have none), valid until the next call; false at the
  // end. Throws Error naming file and byte offset when the compressed data is damaged.
  bool next(std::string_view& line);

  // Bytes of the file (on disk) that were read.
  std::int64_t consumed() const { return consumed_; }

 private:
  struct Decompressor;
  bool fill();
  bool fill_plain();
  bool fill_zstd();

  std::filesystem::path path_;
  std::size_t longest_;
  UniqueFd fd_;
  std::unique_ptr<Decompressor> zstd_;
  std::string buffer_;
  std::size_t begin_ = 0;     // of the next line in buffer_
  std::size_t searched_ = 0;  // no '\n' in [begin_, searched_)
  std::int64_t consumed_ = 0;
};

}  // namespace talaria::storage
