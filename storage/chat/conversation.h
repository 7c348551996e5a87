// SPDX-License-Identifier: Apache-2.0
// A conversation as messages, and the templates that spell it as text. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/error.h"

namespace talaria::storage {

enum class Role { kSystem, kUser, kAssistant };

struct Message {
  Role role = Role::kUser;
  std::string content;
  bool operator==(const Message&) const = default;
};

// A piece of a spelled conversation: text, or a marker, which is one token where the vocabulary has
// it.
struct Piece {
  std::string text;
  bool marker = false;       // "<|im_start|>": never made from a message's own words
  bool end_of_turn = false;  // spelled by end of text where the vocabulary has no such token
  bool trained = false;      // the assistant's words and what ends them
};

// Names: chatml, llama3, hh ("\n\nHuman: ", "\n\nAssistant: ", Bai et al. 2022), plain (contents
// one after the other).
std::vector<std::string_view> template_names();

// The pieces of a conversation in the template; with `open_answer` they end where an assistant's
// answer has to begin. Throws UsageError: unknown template, no message, a message whose words hold
// one of the template's markers, a system message where the template has none.
std::vector<Piece> spell(std::string_view name, const std::vector<Message>& messages,
                         bool open_answer);

}  // namespace talaria::storage
