// SPDX-License-Identifier: Apache-2.0
// Pieces of a spelled conversation to token ids, for one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "storage/chat/conversation.h"
#include "storage/text/encoder.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {

class ChatEncoder {
 public:
  explicit ChatEncoder(const Tokenizer& tokenizer);

  // Appends each piece's ids, and to `trained`, unless it is null, one flag an id. A marker is its
  // token where the vocabulary has exactly that token; else end of text where it ends a turn, and
  // else the ids of its text. Each piece is encoded alone: nothing merges across a marker, nor
  // between what is trained and what is not, so a prompt's ids are the same whatever its answer.
  void encode(std::span<const Piece> pieces, std::vector<std::int32_t>& ids,
              std::vector<std::uint8_t>* trained);

  // The ids of one marker.
  const std::vector<std::int32_t>& marker_ids(const Piece& marker);

 private:
  Tokenizer tokenizer_;
  Encoder encoder_;
  std::map<std::string, std::vector<std::int32_t>> markers_;
};

}  // namespace talaria::storage
