// SPDX-License-Identifier: Apache-2.0
// Tokenizers so small that a test can say every id: a byte is its own id, end of text is 256.
#pragma once

#include <string>
#include <vector>

#include "storage/text/tokenizer.h"

namespace talaria::test {

inline constexpr std::int32_t kTinyEndOfText = 256;

// Tokens `special` get the ids from 257 on; no merge leads to them. Then, one each, the words that
// the pairs `merges` of bytes make.
inline storage::Tokenizer tiny_tokenizer(const std::vector<std::string>& special = {},
                                         const std::vector<std::string>& merges = {}) {
  std::vector<std::string> tokens;
  tokens.reserve(257 + special.size() + merges.size());
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.emplace_back(storage::kEndOfText);
  tokens.insert(tokens.end(), special.begin(), special.end());
  std::vector<storage::MergeLine> lines;
  for (const std::string& pair : merges) {
    lines.push_back({static_cast<unsigned char>(pair.at(0)), static_cast<unsigned char>(pair.at(1)),
                     static_cast<std::uint32_t>(tokens.size())});
    tokens.push_back(pair);
  }
  return storage::Tokenizer::assemble(tokens, lines, kTinyEndOfText);
}

// The ids of `text`, a byte each.
inline std::vector<std::int32_t> bytes_as_ids(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

}  // namespace talaria::test
