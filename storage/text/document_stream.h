// SPDX-License-Identifier: Apache-2.0
// Some documents of a token file laid end to end, as one sequence of ids.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/text/token_file.h"

namespace talaria::storage {

class DocumentStream {
 public:
  // Appends a document; ascending in the file.
  void append(const TokenDocument& document);

  std::int64_t size() const { return size_; }

  // ids[i] = the id at position (first + i) mod size(). 0 <= first < size(), ids.size() <= size().
  void read(const TokenFile& file, std::int64_t first, std::span<std::int32_t> ids) const;

 private:
  // Neighbours in the file make one run, so the table stays short when few documents are left out.
  struct Run {
    std::int64_t first;    // in the stream
    std::int64_t in_file;  // the same id's position in the file
  };
  std::vector<Run> runs_;
  std::int64_t size_ = 0;
};

}  // namespace talaria::storage
