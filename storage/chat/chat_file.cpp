// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/chat_file.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_encoder.h"
#include "storage/chat/chat_line.h"
#include "storage/text/hash.h"
#include "storage/text/line_reader.h"
#include "storage/text/text_source.h"

namespace talaria::storage {
namespace {

constexpr std::string_view kBlanks = " \t\n\v\f\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The line without the blanks around it, of which a Windows line end is one.
std::string_view trimmed(std::string_view line) {
  const std::size_t first = line.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kBlanks) + 1 - first);
}

// Calls use(line, number) for each line that is not blank, without what stands around it, until one
// returns false.
void for_each_line(const std::filesystem::path& file,
                   const std::function<bool(std::string_view line, std::int64_t number)>& use) {
  if (!std::filesystem::is_regular_file(file)) {
    fail_usage("{}: no such file; chat data are .jsonl or .jsonl.zst files", file.string());
  }
  LineReader lines(file, file.extension() == ".zst", std::numeric_limits<std::size_t>::max() / 2);
  std::int64_t number = 0;
  for (std::string_view line; lines.next(line);) {
    ++number;
    if (number == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    line = trimmed(line);
    if (!line.empty() && !use(line, number)) return;
  }
}

// Uses one line or throws SkippedLine; UsageError by spell() makes the line a bad one. `place`:
// "file:line".
using UseLine = std::function<void(ChatLine& line, std::uint64_t hash, const std::string& place)>;

// All lines of all files, each used or counted.
class LineLoop {
 public:
  LineLoop(const ChatOptions& options, ChatCounts& counts)
      : counts_(counts), bad_(options.max_bad_lines, options.quiet, options.bad_lines_option) {
    counts_ = {};
    check_template(options.chat_template);
  }

  void run(const std::vector<std::filesystem::path>& files, const UseLine& use) {
    for (const std::filesystem::path& file : files) {
      for_each_line(file, [&](std::string_view line, std::int64_t number) {
        use_line(line, use, file, number);
        return true;
      });
    }
    if (counts_.used > 0) return;
    fail_usage("{}: no line can be used: {} bad, {} too long, {} without a shared turn, {} equal{}",
               files.empty() ? "chat data" : files.front().string(), counts_.bad, counts_.too_long,
               counts_.no_shared_turn, counts_.equal,
               counts_.first_bad.empty() ? "" : fmt::format("; first {}", counts_.first_bad));
  }

 private:
  void use_line(std::string_view line, const UseLine& use, const std::filesystem::path& file,
                std::int64_t number) {
    try {
      ChatLine parsed = parser_.parse(line);
      use(parsed, content_hash(line), fmt::format("{}:{}", one_line(file.string()), number));
      ++counts_.used;
    } catch (const SkippedLine& skipped) {
      count(skipped.kind(), file, number, skipped.what());
    } catch (const UsageError& error) {
      count(Skip::kBad, file, number, error.what());
    }
  }

  void count(Skip kind, const std::filesystem::path& file, std::int64_t line,
             std::string_view reason) {
    if (counts_.first_bad.empty()) {
      counts_.first_bad = fmt::format("{}:{}: {}", file.string(), line, reason);
    }
    switch (kind) {
      case Skip::kBad:
        ++counts_.bad;
        bad_.add(file, line, reason);
        break;
      case Skip::kTooLong:
        ++counts_.too_long;
        break;
      case Skip::kNoSharedTurn:
        ++counts_.no_shared_turn;
        break;
      case Skip::kEqual:
        ++counts_.equal;
        break;
    }
  }

  ChatCounts& counts_;
  BadLines bad_;
  ChatLineParser parser_;
};

// What `make` gives of each line that can be used, in order; it throws as UseLine does.
template <class Unit, class Make>
std::vector<Unit> read_units(const std::vector<std::filesystem::path>& files,
                             const Tokenizer& tokenizer, const ChatOptions& options,
                             ChatCounts& counts, const Make& make) {
  std::vector<Unit> units;
  ChatEncoder encoder(tokenizer);
  LineLoop(options, counts)
      .run(files, [&](ChatLine& line, std::uint64_t hash, const std::string& place) {
        Unit unit = make(line, encoder);
        unit.hash = hash;
        if constexpr (requires { unit.place; }) unit.place = place;
        units.push_back(std::move(unit));
      });
  return units;
}

void check_length(std::size_t tokens, const ChatOptions& options) {
  const auto count = static_cast<std::int64_t>(tokens);
  if (options.max_tokens == 0 || count <= options.max_tokens) return;
  throw SkippedLine(Skip::kTooLong,
                    fmt::format("{} tokens; allowed: {}", count, options.max_tokens));
}

std::vector<Message> followed_by(std::vector<Message> messages, const Message& answer) {
  messages.push_back(answer);
  return messages;
}

// The conversation that a line says or prefers.
std::vector<Message> best_conversation(const ChatLine& line) {
  if (line.is_transcripts()) {
    if (line.transcripts[0].back().role == Role::kAssistant) return line.transcripts[0];
  } else if (!line.answers.empty()) {
    const auto best = std::min_element(line.ranks.begin(), line.ranks.end()) - line.ranks.begin();
    return followed_by(line.prompt, line.answers[static_cast<std::size_t>(best)]);
  }
  throw SkippedLine(Skip::kBad, "a conversation has to end with the assistant's message");
}

Conversation encode_conversation(const std::vector<Message>& messages, ChatEncoder& encoder,
                                 std::string_view chat_template) {
  std::vector<Piece> pieces = spell(chat_template, messages, false);
  // Nothing is learnt from what a template writes behind the last end of turn.
  while (!pieces.back().trained) pieces.pop_back();
  Conversation conversation;
  encoder.encode(pieces, conversation.ids, &conversation.trained);
  return conversation;
}

// The ids with which `answer` goes on from the open prompt's pieces, end of turn included.
std::vector<std::int32_t> encode_answer(const std::vector<Message>& prompt, const Message& answer,
                                        std::span<const Piece> open, ChatEncoder& encoder,
                                        std::string_view chat_template) {
  std::vector<Piece> pieces = spell(chat_template, followed_by(prompt, answer), false);
  while (!pieces.back().trained) pieces.pop_back();
  TALARIA_CHECK(pieces.size() > open.size() && std::equal(open.begin(), open.end(), pieces.begin()),
                "an open prompt is no beginning of the whole");
  std::vector<std::int32_t> ids;
  encoder.encode(std::span(pieces).subspan(open.size()), ids, nullptr);
  return ids;
}

Comparison encode_comparison(const ChatLine& line, ChatEncoder& encoder,
                             std::string_view chat_template) {
  const std::vector<Piece> open = spell(chat_template, line.prompt, true);
  Comparison comparison;
  encoder.encode(open, comparison.prompt, nullptr);
  for (const Message& answer : line.answers) {
    comparison.answers.push_back(encode_answer(line.prompt, answer, open, encoder, chat_template));
  }
  comparison.ranks = line.ranks;
  return comparison;
}

}  // namespace

ChatKind kind_of_files(const std::vector<std::filesystem::path>& files) {
  std::optional<ChatKind> kind;
  ChatLineParser parser;
  const auto look = [&](std::string_view line, std::int64_t /*number*/) {
    try {
      const ChatLine parsed = parser.parse(line);
      if (parsed.is_transcripts() || parsed.answers.size() > 1) {
        kind = ChatKind::kComparisons;
      } else {
        kind = parsed.answers.empty() ? ChatKind::kPrompts : ChatKind::kConversations;
      }
    } catch (const SkippedLine&) {
      return true;
    }
    return false;
  };
  for (const std::filesystem::path& file : files) {
    if (!kind) for_each_line(file, look);
  }
  if (!kind) {
    fail_usage("{}: no line has a shape of chat data; docs/chat-data.md tells them",
               files.empty() ? "chat data" : files.front().string());
  }
  return *kind;
}

std::vector<Conversation> read_conversations(const std::vector<std::filesystem::path>& files,
                                             const Tokenizer& tokenizer, const ChatOptions& options,
                                             ChatCounts& counts) {
  return read_units<Conversation>(
      files, tokenizer, options, counts, [&](ChatLine& line, ChatEncoder& encoder) {
        Conversation conversation =
            encode_conversation(best_conversation(line), encoder, options.chat_template);
        check_length(conversation.ids.size(), options);
        return conversation;
      });
}

std::vector<Comparison> read_comparisons(const std::vector<std::filesystem::path>& files,
                                         const Tokenizer& tokenizer, const ChatOptions& options,
                                         ChatCounts& counts) {
  return read_units<Comparison>(
      files, tokenizer, options, counts, [&](ChatLine& line, ChatEncoder& encoder) {
        split_transcripts(line);
        if (line.answers.size() < kLeastAnswers) {
          throw SkippedLine(Skip::kBad,
                            fmt::format("a comparison needs {} answers or more, here are {}",
                                        kLeastAnswers, line.answers.size()));
        }
        Comparison comparison = encode_comparison(line, encoder, options.chat_template);
        std::size_t tokens = 0;
        for (const auto& answer : comparison.answers) {
          tokens += comparison.prompt.size() + answer.size();
        }
        check_length(tokens, options);
        return comparison;
      });
}

std::vector<PromptLine> read_prompts(const std::vector<std::filesystem::path>& files,
                                     const Tokenizer& tokenizer, const ChatOptions& options,
                                     ChatCounts& counts) {
  return read_units<PromptLine>(
      files, tokenizer, options, counts, [&](ChatLine& line, ChatEncoder& encoder) {
        split_transcripts(line);
        const std::vector<Piece> pieces = spell(options.chat_template, line.prompt, true);
        PromptLine prompt;
        encoder.encode(pieces, prompt.ids, nullptr);
        if (prompt.ids.empty()) throw SkippedLine(Skip::kBad, "the prompt is empty");
        check_length(prompt.ids.size(), options);
        prompt.text = spelled_text(pieces);
        prompt.answer = line.expected;
        return prompt;
      });
}

std::vector<std::int32_t> encode_open(const std::vector<Message>& messages,
                                      const Tokenizer& tokenizer, std::string_view chat_template) {
  std::vector<std::int32_t> ids;
  ChatEncoder(tokenizer).encode(spell(chat_template, messages, true), ids, nullptr);
  return ids;
}

std::int32_t end_of_turn(const Tokenizer& tokenizer, std::string_view chat_template) {
  const std::vector<Piece> pieces = spell(chat_template, {{Role::kAssistant, "x"}}, false);
  const auto end = std::find_if(pieces.begin(), pieces.end(),
                                [](const Piece& piece) { return piece.end_of_turn; });
  TALARIA_CHECK(end != pieces.end(), "no end of turn in {}", chat_template);
  return ChatEncoder(tokenizer).marker_ids(*end).front();
}

}  // namespace talaria::storage
