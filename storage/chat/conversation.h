// SPDX-License-Identifier: Apache-2.0
// A conversation as messages, and the templates that spell it as text. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/error.h"

namespace talaria::storage {

enum class Role { kSystem, kUser, kAssistant };

// "system", "user", "assistant".
std::string_view role_name(Role role);

struct Message {
  Role role = Role::kUser;
  std::string content;
  bool operator==(const Message&) const = default;
};

// A piece of a spelled conversation: text, or a marker, which is one token where the vocabulary has
// it. Never empty.
struct Piece {
  std::string text;
  bool marker = false;       // "<|im_start|>": never made from a message's own words
  bool end_of_turn = false;  // spelled by end of text where the vocabulary has no such token
  bool trained = false;      // the assistant's words and what ends them
  bool operator==(const Piece&) const = default;
};

// The names, and what a message becomes (an assistant's turn in brackets where it is trained):
//   chatml  "<|im_start|>ROLE\n" CONTENT "<|im_end|>" "\n"
//   llama3  "<|start_header_id|>ROLE<|end_header_id|>\n\n" CONTENT "<|eot_id|>", with
//           "<|begin_of_text|>" before the first
//   hh      "\n\nHuman: " CONTENT, "\n\nAssistant:" [" " CONTENT "<|endoftext|>"]
//           (Bai et al. 2022, arXiv:2204.05862)
//   plain   CONTENT, [CONTENT "<|endoftext|>"]
std::vector<std::string_view> template_names();

// Throws UsageError naming the templates that there are.
void check_template(std::string_view name);

// The pieces of a conversation in the template; with `open_answer` they end where an assistant's
// answer has to begin. The pieces of messages with `open_answer` are the first pieces of those
// messages followed by an assistant's. Two texts of the same `trained` never stand side by side.
// Throws UsageError: unknown template, no message, a message whose words hold one of the template's
// markers or "<|endoftext|>", a system message where the template has none (hh; plain but at the
// beginning), two turns in a row that the template would run together (plain).
std::vector<Piece> spell(std::string_view name, const std::vector<Message>& messages,
                         bool open_answer);

// The text of all pieces.
std::string spelled_text(const std::vector<Piece>& pieces);

// The content of an assistant's message that was generated as `text` (its end of turn left out):
// in hh without the blank that follows "\n\nAssistant:".
std::string_view answer_content(std::string_view name, std::string_view text);

// Of a generated text that may go on: the bytes that hold neither one of the template's markers nor
// "<|endoftext|>", nor what could be the beginning of one; and whether a whole one follows them.
// Words with a marker can be no message.
struct PlainWords {
  std::size_t bytes = 0;
  bool marker = false;
};
PlainWords plain_words(std::string_view name, std::string_view text);

}  // namespace talaria::storage
