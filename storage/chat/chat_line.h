// SPDX-License-Identifier: Apache-2.0
// One line of a chat file (chat_file.h has the shapes): JSON to messages, before any template. What
// keeps a line from being used is thrown as SkippedLine, with how it is counted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "storage/chat/conversation.h"

namespace talaria::storage {

inline constexpr std::size_t kLeastAnswers = 2;  // of a comparison
inline constexpr std::size_t kMostAnswers = 9;   // Ouyang et al. 2022: K = 4 to 9

enum class Skip { kBad, kTooLong, kNoSharedTurn, kEqual };

// what(): the reason, one printable line.
class SkippedLine : public std::runtime_error {
 public:
  SkippedLine(Skip kind, const std::string& reason) : std::runtime_error(reason), kind_(kind) {}
  Skip kind() const { return kind_; }

 private:
  Skip kind_;
};

struct ChatLine {
  // What stands before the answers; never empty but where `transcripts` are given or a conversation
  // begins with its only answer.
  std::vector<Message> prompt;
  std::vector<Message> answers;     // the assistant's: none, one, or 2 to 9 of a comparison
  std::vector<std::int32_t> ranks;  // of 2 to 9 answers: 0 is best, ties are equal, without gaps
  std::string expected;             // the key "answer"
  // chosen and rejected as whole conversations, which is then all that the line has; else empty.
  std::array<std::vector<Message>, 2> transcripts;

  bool is_transcripts() const { return !transcripts[0].empty(); }
};

class ChatLineParser {
 public:
  ChatLineParser();
  ~ChatLineParser();
  ChatLineParser(const ChatLineParser&) = delete;
  ChatLineParser& operator=(const ChatLineParser&) = delete;

  // Throws SkippedLine, kBad: broken JSON, invalid UTF-8, not an object, a key twice, unknown shape
  // or role, an assistant's message without words, not 2 to 9 answers, ranks that are not as many
  // or that prefer no answer; kEqual: all answers are the same. Answers that are the same tie, at
  // the best of their ranks.
  ChatLine parse(std::string_view line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Splits two transcripts behind the last turn they share: that far goes the prompt, and the one
// assistant's turn that follows in each is its answer. Throws SkippedLine: kEqual; kNoSharedTurn;
// kBad where something else follows than one turn of the assistant. Leaves other lines alone.
void split_transcripts(ChatLine& line);

// The turns of "\n\nHuman: X\n\nAssistant: Y": of each what follows the colon, without one blank.
// Throws SkippedLine, kBad, where the text does not begin with such a marker.
std::vector<Message> transcript_turns(std::string_view text);

}  // namespace talaria::storage
