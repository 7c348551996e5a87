// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/conversation.h"

#include <algorithm>

#include "cluster/base/text.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {
namespace {

constexpr std::string_view kImStart = "<|im_start|>";
constexpr std::string_view kImEnd = "<|im_end|>";
constexpr std::string_view kBeginOfText = "<|begin_of_text|>";
constexpr std::string_view kStartHeader = "<|start_header_id|>";
constexpr std::string_view kEndHeader = "<|end_header_id|>";
constexpr std::string_view kEndOfTurn = "<|eot_id|>";
constexpr std::string_view kHuman = "\n\nHuman:";
constexpr std::string_view kAssistant = "\n\nAssistant:";

// Collects pieces; a text that follows a text of the same `trained` is joined to it.
class Pieces {
 public:
  void marker(std::string_view text, bool trained = false) {
    pieces_.push_back({std::string(text), true, false, trained});
  }
  void end_of_turn(std::string_view text, bool trained) {
    pieces_.push_back({std::string(text), true, true, trained});
  }
  void text(std::string_view text, bool trained = false) {
    if (text.empty()) return;
    if (pieces_.empty() || pieces_.back().marker || pieces_.back().trained != trained) {
      pieces_.push_back({std::string(), false, false, trained});
    }
    pieces_.back().text += text;
  }
  std::vector<Piece> take() { return std::move(pieces_); }

 private:
  std::vector<Piece> pieces_;
};

// How one template spells: what comes first, what stands before a message's content, the content
// and what ends the turn.
struct Template {
  std::string_view name;
  std::vector<std::string_view> markers;
  void (*begin)(Pieces& out);
  void (*head)(Pieces& out, Role role);
  void (*body)(Pieces& out, const Message& message, bool trained);
  void (*check_order)(const std::vector<Message>& messages, bool open_answer);
};

void nothing_first(Pieces& /*out*/) {}
void any_order(const std::vector<Message>& /*messages*/, bool /*open_answer*/) {}

void chatml_head(Pieces& out, Role role) {
  out.marker(kImStart);
  out.text(role_name(role));
  out.text("\n");
}

void chatml_body(Pieces& out, const Message& message, bool trained) {
  out.text(message.content, trained);
  out.end_of_turn(kImEnd, trained);
  out.text("\n");
}

void llama3_begin(Pieces& out) { out.marker(kBeginOfText); }

void llama3_head(Pieces& out, Role role) {
  out.marker(kStartHeader);
  out.text(role_name(role));
  out.marker(kEndHeader);
  out.text("\n\n");
}

void llama3_body(Pieces& out, const Message& message, bool trained) {
  out.text(message.content, trained);
  out.end_of_turn(kEndOfTurn, trained);
}

void hh_head(Pieces& out, Role role) { out.marker(role == Role::kUser ? kHuman : kAssistant); }

// The blank belongs to the words: byte-level BPE has " Yes" as one token, and a prompt that ended
// in a blank would take it away from the answer.
void hh_body(Pieces& out, const Message& message, bool trained) {
  out.text(" ", trained);
  out.text(message.content, trained);
  if (trained) out.end_of_turn(kEndOfText, true);
}

void hh_order(const std::vector<Message>& messages, bool /*open_answer*/) {
  for (const Message& message : messages) {
    if (message.role != Role::kSystem) continue;
    fail_usage("the template hh has no system message; allowed: user, assistant");
  }
}

void plain_head(Pieces& /*out*/, Role /*role*/) {}

void plain_body(Pieces& out, const Message& message, bool trained) {
  out.text(message.content, trained);
  if (trained) out.end_of_turn(kEndOfText, true);
}

// Contents have nothing between them, so only alternation tells whose they are.
void plain_order(const std::vector<Message>& messages, bool open_answer) {
  for (std::size_t i = 1; i < messages.size(); ++i) {
    if (messages[i].role == Role::kSystem) {
      fail_usage("a system message after the first; the template plain has one only at the start");
    }
    if (messages[i].role == messages[i - 1].role) {
      fail_usage(
          "two messages of the {} in a row; in the template plain user and assistant take "
          "turns",
          role_name(messages[i].role));
    }
  }
  if (open_answer && messages.back().role == Role::kAssistant) {
    fail_usage(
        "an answer is to follow the assistant's own message; in the template plain user "
        "and assistant take turns");
  }
}

const std::vector<Template>& templates() {
  static const std::vector<Template> all = {
      {"chatml", {kImStart, kImEnd}, nothing_first, chatml_head, chatml_body, any_order},
      {"llama3",
       {kBeginOfText, kStartHeader, kEndHeader, kEndOfTurn},
       llama3_begin,
       llama3_head,
       llama3_body,
       any_order},
      {"hh", {kHuman, kAssistant}, nothing_first, hh_head, hh_body, hh_order},
      {"plain", {}, nothing_first, plain_head, plain_body, plain_order}};
  return all;
}

const Template& find_template(std::string_view name) {
  const auto found = std::find_if(templates().begin(), templates().end(),
                                  [&](const Template& each) { return each.name == name; });
  if (found == templates().end()) {
    std::vector<std::string> names;
    for (const Template& each : templates()) names.emplace_back(each.name);
    fail_usage("{}: no such chat template; allowed: {}", in_quotes(name), join_or(names));
  }
  return *found;
}

void refuse_marker(const Message& message, std::string_view marker) {
  if (message.content.find(marker) == std::string::npos) return;
  fail_usage("the {}'s words hold the marker {}; a message cannot spell turns of its own",
             role_name(message.role), in_quotes(marker));
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  TALARIA_CHECK(false, "role {}", static_cast<int>(role));
  return "";
}

std::vector<std::string_view> template_names() {
  std::vector<std::string_view> names;
  for (const Template& each : templates()) names.push_back(each.name);
  return names;
}

void check_template(std::string_view name) { find_template(name); }

std::vector<Piece> spell(std::string_view name, const std::vector<Message>& messages,
                         bool open_answer) {
  const Template& spelling = find_template(name);
  if (messages.empty()) fail_usage("there is no message");
  for (const Message& message : messages) {
    for (const std::string_view marker : spelling.markers) refuse_marker(message, marker);
    refuse_marker(message, kEndOfText);
  }
  spelling.check_order(messages, open_answer);
  Pieces out;
  spelling.begin(out);
  for (const Message& message : messages) {
    spelling.head(out, message.role);
    spelling.body(out, message, message.role == Role::kAssistant);
  }
  if (open_answer) spelling.head(out, Role::kAssistant);
  return out.take();
}

std::string spelled_text(const std::vector<Piece>& pieces) {
  std::string text;
  for (const Piece& piece : pieces) text += piece.text;
  return text;
}

std::string_view answer_content(std::string_view name, std::string_view text) {
  check_template(name);
  if (name == "hh" && text.starts_with(' ')) text.remove_prefix(1);
  return text;
}

PlainWords plain_words(std::string_view name, std::string_view text) {
  std::vector<std::string_view> markers = find_template(name).markers;
  markers.push_back(kEndOfText);
  PlainWords words = {text.size(), false};
  for (const std::string_view marker : markers) {
    const std::size_t at = text.find(marker);
    if (at < words.bytes) words = {at, true};
  }
  if (words.marker) return words;
  for (const std::string_view marker : markers) {
    for (std::size_t part = std::min(marker.size() - 1, text.size()); part > 0; --part) {
      if (!text.ends_with(marker.substr(0, part))) continue;
      words.bytes = std::min(words.bytes, text.size() - part);
      break;
    }
  }
  return words;
}

}  // namespace talaria::storage
