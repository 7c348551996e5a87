// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/chat_encoder.h"

#include <algorithm>

namespace talaria::storage {

ChatEncoder::ChatEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer), encoder_(tokenizer) {}

const std::vector<std::int32_t>& ChatEncoder::marker_ids(const Piece& marker) {
  const auto [entry, is_new] = markers_.try_emplace(marker.text);
  if (is_new) {
    const std::vector<std::string>& tokens = tokenizer_.tables()->tokens;
    const auto token = std::find(tokens.begin(), tokens.end(), marker.text);
    if (token != tokens.end()) {
      entry->second = {static_cast<std::int32_t>(token - tokens.begin())};
    } else if (marker.end_of_turn) {
      entry->second = {tokenizer_.end_of_text()};
    } else {
      encoder_.encode(marker.text, entry->second);
    }
  }
  return entry->second;
}

void ChatEncoder::encode(std::span<const Piece> pieces, std::vector<std::int32_t>& ids,
                         std::vector<std::uint8_t>* trained) {
  for (const Piece& piece : pieces) {
    if (piece.marker) {
      const std::vector<std::int32_t>& marker = marker_ids(piece);
      ids.insert(ids.end(), marker.begin(), marker.end());
    } else {
      encoder_.encode(piece.text, ids);
    }
    if (trained != nullptr) trained->resize(ids.size(), piece.trained ? 1 : 0);
  }
}

}  // namespace talaria::storage
