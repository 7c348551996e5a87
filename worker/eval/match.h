// SPDX-License-Identifier: Apache-2.0
// `talaria eval exact` and `talaria eval in-context`: the likeliest answer to each prompt against
// the expected one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "storage/chat/conversation.h"
#include "worker/eval/answers.h"

namespace talaria::worker {

struct MatchOptions {
  InferenceOptions model;
  std::vector<std::filesystem::path> files;
  // Else: lines of chat_file.h's shapes with one answer, or a prompt with "answer".
  bool in_context = false;    // lines of "context" and "completion", as text
  std::string chat_template;  // "": of a chat job; "none": prompts are text that goes on
  std::int64_t shots = 0;     // lines at a file's head that are given as examples
  std::int64_t limit = 0;     // lines of a file behind them; 0: all
  AnswerOptions answer;
  std::filesystem::path out;  // a line of JSON an example; empty: none
  bool json = false;
};

// A line of such a file.
struct Example {
  std::vector<storage::Message> prompt;
  std::string expected;  // as it stands in the line
  std::string where;     // "file:line"
};

// Throws UsageError with file and line for a line that is none.
std::vector<Example> read_examples(const std::filesystem::path& file, bool in_context);

// The text that the likeliest continuation is asked for: the examples before it, each followed by
// its answer, then the prompt. Contexts that begin with a line's end stand as they are; else a
// blank line parts them.
std::string joined_text(const std::vector<Example>& shots,
                        const std::vector<storage::Message>& prompt, bool in_context);

// Equal but for white space (ASCII's) around them.
bool same_answer(std::string_view answer, std::string_view expected);

int eval_match(parallel::Process* process, const MatchOptions& options);

}  // namespace talaria::worker
