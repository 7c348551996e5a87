// SPDX-License-Identifier: Apache-2.0
// What chat files hold, for people and for programs: `data chat`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/chat/chat_file.h"

namespace talaria::storage {

struct ChatSummaryOptions {
  std::vector<std::filesystem::path> files;
  std::filesystem::path tokenizer;  // a folder
  ChatOptions chat;
  std::optional<ChatKind> kind;  // else as kind_of_files() says
  std::int64_t show = 0;         // so many lines are spelled
};

// A part of a spelled line: the text of neighbouring tokens that are, or are not, trained.
struct ShownPart {
  std::string text;
  bool trained = false;
};

struct ChatSummary {
  ChatKind kind = ChatKind::kConversations;
  std::vector<std::string> files;
  std::string chat_template;
  std::int32_t end_of_turn = 0;
  std::string end_of_turn_text;
  ChatCounts counts;
  // Of a conversation all ids; of a comparison prompt and answer, for each answer; of a prompt its
  // ids.
  std::int64_t tokens = 0;
  std::int64_t trained = 0;   // the assistant's; of comparisons the answers'
  std::int64_t shortest = 0;  // line, in tokens
  std::int64_t longest = 0;
  std::vector<std::vector<ShownPart>> shown;

  // A line a fact, then the lines shown, what is trained between [[ and ]], and in colour if asked.
  // Harmless to a terminal.
  std::string to_text(bool colour) const;
  std::string to_json() const;  // one line
};

// Throws UsageError as the readers of chat_file.h.
ChatSummary summarise_chat(const ChatSummaryOptions& options);

}  // namespace talaria::storage
