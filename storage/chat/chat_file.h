// SPDX-License-Identifier: Apache-2.0
// JSONL files of conversations, comparisons and prompts, in the shapes people have them, as token
// ids. A line's shape is known by its keys:
//   messages                        a conversation: [{role, content}, ...]
//   prompt, completion              its one answer
//   prompt, chosen, rejected        a comparison of two answers
//   chosen, rejected                two whole transcripts, split behind the last turn they share
//   prompt, answers [, ranks]       a comparison of 2 to 9 answers, the best first; `ranks`
//   (numbers,
//                                   the lowest best, equal ones tie) where given
//   prompt [, answer]               a prompt, with the answer that a rule expects
// prompt, completion, chosen, rejected, answers are strings or lists of messages. A transcript that
// is a string is split at "\n\nHuman:" and "\n\nAssistant:".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "storage/chat/conversation.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {

// A whole conversation's ids; trained[i] != 0: id i is the assistant's, its end of turn included.
struct Conversation {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;
  std::uint64_t hash = 0;  // XXH3-64 of the line: decides about validation
};

// A prompt and its answers, each as ids that go on from the prompt's and end the turn.
struct Comparison {
  std::vector<std::int32_t> prompt;
  std::vector<std::vector<std::int32_t>> answers;
  std::vector<std::int32_t> ranks;  // the lowest is best, equal ones tie
  std::uint64_t hash = 0;
};

struct PromptLine {
  std::vector<std::int32_t> ids;  // ends where the answer begins
  std::string text;               // as spelled
  std::string answer;             // "" where none is given
  std::uint64_t hash = 0;
};

struct ChatOptions {
  std::string chat_template = "chatml";
  std::int64_t max_tokens = 0;     // longer ones are skipped, counted as too_long; 0: no limit
  std::int64_t max_bad_lines = 0;  // of all files; one more is an error
};

// What was read and what was not. A line is counted once.
struct ChatCounts {
  std::int64_t used = 0;
  std::int64_t bad = 0;       // no JSON, unknown shape or role, invalid UTF-8, empty answer, ...
  std::int64_t too_long = 0;  // above max_tokens
  std::int64_t no_shared_turn = 0;  // transcripts that share no turn
  std::int64_t equal = 0;           // chosen and rejected are the same
  std::string first_bad;            // "file:line: reason" of the first of any of these
};

// Each reads all `files` in order. A conversation file may hold comparisons of the shapes prompt +
// chosen + ..., of which the best answer is the conversation; a prompt file may hold any shape, of
// which the prompt is taken. Throws UsageError "file:line: reason ..." beyond max_bad_lines bad
// lines, for a missing file, and where nothing is left; each other skip is only counted.
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
std::vector<std::int32_t> encode_open(const std::vector<Message>& messages,
                                      const Tokenizer& tokenizer, std::string_view chat_template);
// What ends an assistant's turn in this template with this vocabulary.
std::int32_t end_of_turn(const Tokenizer& tokenizer, std::string_view chat_template);

}  // namespace talaria::storage
