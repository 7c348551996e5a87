// SPDX-License-Identifier: Apache-2.0
// JSONL files of conversations, comparisons and prompts, in the shapes people have them, as token
// ids. A line's shape is known by its keys:
//   messages                        a conversation: [{role, content}, ...]
//   prompt, completion              its one answer
//   prompt, chosen, rejected        a comparison of two answers
//   chosen, rejected                two whole transcripts, split behind the last turn they share
//   prompt, answers [, ranks]       a comparison of 2 to 9 answers, the best first, or as `ranks`
//                                   says: numbers, the lowest is best, equal ones tie, as equal
//                                   answers do, at the best of their ranks
//   prompt [, answer]               a prompt, with the answer that a rule expects
// Other keys are ignored. prompt (the user's), completion, chosen, rejected and each of answers
// (the assistant's) are strings or lists of messages. A transcript that is a string is split at
// "\n\nHuman:" and "\n\nAssistant:". docs/chat-data.md tells it to users.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "storage/chat/conversation.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {

// A conversation's ids up to the end of the assistant's last turn, which is trained; trained[i] !=
// 0: id i is the assistant's, its end of turn included. ids.size() >= 2.
struct Conversation {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;
  std::uint64_t hash = 0;  // XXH3-64 of the line: decides about validation
};

// A prompt and its answers, each as ids that go on from the prompt's and end with the end of turn.
// The prompt's ids are the same whatever the answer.
struct Comparison {
  std::vector<std::int32_t> prompt;
  std::vector<std::vector<std::int32_t>> answers;
  std::vector<std::int32_t> ranks;  // 0 is best, equal ones tie, no gaps; not all are equal
  std::uint64_t hash = 0;
  std::string place;  // "file:line"
};

struct PromptLine {
  std::vector<std::int32_t> ids;  // ends where the answer begins
  std::string text;               // as spelled
  std::string answer;             // "" where none is given
  std::uint64_t hash = 0;
  std::string place;  // "file:line"
};

struct ChatOptions {
  std::string chat_template = "chatml";
  // Longer ones are skipped, counted as too_long; 0: no limit. Counts a conversation's ids, a
  // comparison's prompt + answer over all of its answers (which share a row), a prompt's ids.
  std::int64_t max_tokens = 0;
  std::int64_t max_bad_lines = 0;  // of all files; one more is an error
  bool quiet = false;              // bad lines are not said, for all ranks but one
  std::string_view bad_lines_option = "max_bad_lines";  // named by that error; a literal
};

// What was read and what was not. A line is counted once.
struct ChatCounts {
  std::int64_t used = 0;
  std::int64_t bad = 0;       // no JSON, unknown shape or role, invalid UTF-8, empty answer, ...;
                              // or of a shape that is not what is read
  std::int64_t too_long = 0;  // above max_tokens
  std::int64_t no_shared_turn = 0;  // transcripts that share no turn
  std::int64_t equal = 0;           // chosen and rejected, or all answers, are the same
  std::string first_bad;            // "file:line: reason" of the first of any of these
};

enum class ChatKind { kConversations, kComparisons, kPrompts };

// What the first line that has one of the shapes is by itself. Throws UsageError: a missing file,
// no such line.
ChatKind kind_of_files(const std::vector<std::filesystem::path>& files);

// Each reads all `files` in order (zstd where the name ends in .zst; blank lines are skipped) and
// replaces `counts`. A conversation file may hold comparisons, of which the best answer (the first
// of those that tie, or the whole of `chosen`) is the conversation; a prompt file may hold any
// shape, of which what stands before the last answer is taken. Bad lines are said on stderr, the
// first 20 of them. Throws UsageError "file:line: reason ..." beyond max_bad_lines bad lines, for
// an unknown template, a missing file, and where nothing is left; each other skip is only counted.
std::vector<Conversation> read_conversations(const std::vector<std::filesystem::path>& files,
                                             const Tokenizer& tokenizer, const ChatOptions& options,
                                             ChatCounts& counts);
std::vector<Comparison> read_comparisons(const std::vector<std::filesystem::path>& files,
                                         const Tokenizer& tokenizer, const ChatOptions& options,
                                         ChatCounts& counts);
std::vector<PromptLine> read_prompts(const std::vector<std::filesystem::path>& files,
                                     const Tokenizer& tokenizer, const ChatOptions& options,
                                     ChatCounts& counts);

// Ids of a conversation that goes on with an assistant's answer, as `talaria chat` needs them.
// What encode_open(messages) gives begins the ids of `messages` with any answer behind them.
// Throws UsageError as spell().
std::vector<std::int32_t> encode_open(const std::vector<Message>& messages,
                                      const Tokenizer& tokenizer, std::string_view chat_template);
// What ends an assistant's turn in this template with this vocabulary.
std::int32_t end_of_turn(const Tokenizer& tokenizer, std::string_view chat_template);

}  // namespace talaria::storage
