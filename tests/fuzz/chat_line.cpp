// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/chat_line.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_encoder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/chat_fixtures.h"

namespace talaria::fuzz {

namespace {

using storage::ChatLine;
using storage::Message;
using storage::Piece;

constexpr std::size_t kMostReasonBytes = 4096;

void check_reason(const std::string& reason) {
  if (one_line(reason) != reason) throw std::logic_error("not one printable line: " + reason);
  if (reason.size() > kMostReasonBytes) throw std::logic_error("endless reason: " + reason);
}

// Messages that were read give themselves when they are written as JSON and read again.
void check_messages(const std::vector<Message>& messages) {
  if (messages.empty()) return;
  boost::json::array list;
  for (const Message& message : messages) {
    list.push_back({{"role", storage::role_name(message.role)}, {"content", message.content}});
  }
  static storage::ChatLineParser parser;
  const ChatLine again =
      parser.parse(boost::json::serialize(boost::json::object{{"messages", std::move(list)}}));
  std::vector<Message> whole = again.prompt;
  whole.insert(whole.end(), again.answers.begin(), again.answers.end());
  if (whole != messages) throw std::logic_error("messages changed");
}

// Ids are the text, end of text stands where turns end and nowhere else.
void check_ids(const std::vector<Piece>& pieces) {
  static const storage::Tokenizer tokenizer = test::tiny_tokenizer();
  static storage::ChatEncoder encoder(tokenizer);
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;
  encoder.encode(pieces, ids, &trained);
  std::string text;
  std::ptrdiff_t ends = 0;
  for (const Piece& piece : pieces) {
    text += piece.end_of_turn ? std::string(storage::kEndOfText) : piece.text;
    ends += piece.end_of_turn ? 1 : 0;
  }
  if (tokenizer.decode(ids) != text) throw std::logic_error("ids are another text: " + text);
  if (std::count(ids.begin(), ids.end(), tokenizer.end_of_text()) != ends) {
    throw std::logic_error("a turn ends where none was: " + text);
  }
  if (trained.size() != ids.size()) throw std::logic_error("not one flag an id");
}

void check_spelling(std::string_view name, const std::vector<Message>& prompt,
                    const Message& answer) {
  std::vector<Message> messages = prompt;
  messages.push_back(answer);
  try {
    const std::vector<Piece> whole = storage::spell(name, messages, false);
    check_ids(whole);
    if (prompt.empty()) return;
    const std::vector<Piece> open = storage::spell(name, prompt, true);
    if (open.size() >= whole.size() || !std::equal(open.begin(), open.end(), whole.begin())) {
      throw std::logic_error("a prompt is not the beginning of the whole");
    }
  } catch (const UsageError& error) {
    check_reason(error.what());
  }
}

}  // namespace

void chat_line(std::string_view bytes) {
  static storage::ChatLineParser parser;
  ChatLine line;
  try {
    line = parser.parse(bytes);
    for (const std::vector<Message>& each : line.transcripts) check_messages(each);
    storage::split_transcripts(line);
  } catch (const storage::SkippedLine& skipped) {
    check_reason(skipped.what());
    return;
  }
  check_messages(line.prompt);
  if (line.answers.size() > storage::kMostAnswers) throw std::logic_error("too many answers");
  if (line.answers.size() > 1 && line.ranks.size() != line.answers.size()) {
    throw std::logic_error("not one rank an answer");
  }
  for (const std::string_view name : storage::template_names()) {
    for (const Message& answer : line.answers) check_spelling(name, line.prompt, answer);
  }
}

}  // namespace talaria::fuzz
