// SPDX-License-Identifier: Apache-2.0
#include "storage/text/document_stream.h"

#include <algorithm>

#include "cluster/base/error.h"

namespace talaria::storage {

void DocumentStream::append(const TokenDocument& document) {
  const auto in_file = static_cast<std::int64_t>(document.first_token);
  const bool continues =
      !runs_.empty() && runs_.back().in_file + (size_ - runs_.back().first) == in_file;
  if (!continues) runs_.push_back({size_, in_file});
  size_ += static_cast<std::int64_t>(document.token_count);
}

void DocumentStream::read(const TokenFile& file, std::int64_t first,
                          std::span<std::int32_t> ids) const {
  const auto count = static_cast<std::int64_t>(ids.size());
  TALARIA_CHECK(first >= 0 && first < size_ && count <= size_, "{} + {} of {}", first, count,
                size_);
  auto run = std::prev(std::upper_bound(
      runs_.begin(), runs_.end(), first,
      [](std::int64_t position, const Run& candidate) { return position < candidate.first; }));
  for (std::int64_t position = first; !ids.empty();) {
    const auto after = std::next(run);
    const std::int64_t end = after == runs_.end() ? size_ : after->first;
    const auto piece =
        static_cast<std::size_t>(std::min(end - position, static_cast<std::int64_t>(ids.size())));
    file.read(run->in_file + (position - run->first), ids.first(piece));
    ids = ids.subspan(piece);
    run = after == runs_.end() ? runs_.begin() : after;
    position = run->first;
  }
}

}  // namespace talaria::storage
