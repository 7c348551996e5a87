// SPDX-License-Identifier: Apache-2.0
// Conversations and comparisons laid end to end in a row of T tokens, as the model eats them: the
// fields of one sample of model::Batch. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/chat/chat_file.h"

namespace talaria::storage {

// All [T]. Token t attends to [starts[t], t]. What the segments leave free are padding tokens: each
// a segment of its own, weight 0, input and target pad_id.
struct Row {
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
  std::vector<std::int32_t> starts;
  std::vector<float> weights;
};

// Where the reward of one answer is read: the position in the row of the answer's last token.
struct AnswerPlace {
  std::int32_t last = 0;
};

struct ComparisonRow {
  Row row;
  std::vector<std::vector<AnswerPlace>> places;  // [comparisons][answers]
};

// Tokens of a row that a unit takes, for pack_epoch(): a conversation's ids but one; the prompt and
// the answer of each of a comparison's answers.
std::int32_t row_tokens(const Conversation& conversation);
std::int32_t row_tokens(const Comparison& comparison);
std::vector<std::int32_t> row_tokens(std::span<const Conversation> conversations);
std::vector<std::int32_t> row_tokens(std::span<const Comparison> comparisons);

// A conversation of n ids is a segment of n - 1 tokens: input ids[i], target ids[i + 1], weight
// trained[i + 1]. Together they have at most `length` tokens.
Row conversation_row(std::span<const Conversation* const> conversations, std::int64_t length,
                     std::int32_t pad_id);

// Each answer is a segment, prompt and answer, all of their ids being inputs; targets are the ids
// that follow (pad_id behind the last), all weights are 0. Together at most `length` tokens.
ComparisonRow comparison_row(std::span<const Comparison* const> comparisons, std::int64_t length,
                             std::int32_t pad_id);

}  // namespace talaria::storage
