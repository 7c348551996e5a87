// SPDX-License-Identifier: Apache-2.0
// Text to ids, for one thread: splits into words, looks each word up in a cache, else merges its
// bytes by rank, lowest first and leftmost among equals.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "storage/text/tokenizer.h"

namespace talaria::storage {

class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);
  ~Encoder();
  Encoder(Encoder&&) noexcept;

  // Appends the ids of `text`.
  void encode(std::string_view text, std::vector<std::int32_t>& ids);

 private:
  class WordCache;
  void merge_word(std::string_view word);
  void merge_short();
  void merge_long();

  std::shared_ptr<const TokenizerTables> tables_;
  WordSplitter splitter_;
  std::unique_ptr<WordCache> cache_;
  std::vector<std::uint32_t> symbols_;  // the word in work
  std::vector<std::uint32_t> ranks_;    // of the merge of symbol i with the next
};

}  // namespace talaria::storage
