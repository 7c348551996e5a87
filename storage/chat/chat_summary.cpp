// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/chat_summary.h"

#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cluster/base/text.h"

namespace talaria::storage {
namespace {

namespace json = boost::json;

constexpr std::string_view kColour = "\x1b[1;32m";
constexpr std::string_view kNoColour = "\x1b[0m";

const char* kind_name(ChatKind kind) {
  switch (kind) {
    case ChatKind::kConversations:
      return "conversations";
    case ChatKind::kComparisons:
      return "comparisons";
    case ChatKind::kPrompts:
      return "prompts";
  }
  return "";
}

// Adds up lines of one kind and spells the first of them.
class Summariser {
 public:
  Summariser(const ChatSummaryOptions& options, const Tokenizer& tokenizer, ChatSummary& summary)
      : options_(options), tokenizer_(tokenizer), summary_(summary) {}

  void conversations() {
    for (const Conversation& each :
         read_conversations(options_.files, tokenizer_, options_.chat, summary_.counts)) {
      const auto trained = std::count(each.trained.begin(), each.trained.end(), 1);
      if (add(each.ids.size(), static_cast<std::size_t>(trained))) show(each);
    }
  }

  void comparisons() {
    for (const Comparison& each :
         read_comparisons(options_.files, tokenizer_, options_.chat, summary_.counts)) {
      std::size_t answers = 0;
      for (const std::vector<std::int32_t>& answer : each.answers) answers += answer.size();
      if (add(each.answers.size() * each.prompt.size() + answers, answers)) show(each);
    }
  }

  void prompts() {
    for (const PromptLine& each :
         read_prompts(options_.files, tokenizer_, options_.chat, summary_.counts)) {
      if (!add(each.ids.size(), 0)) continue;
      std::vector<ShownPart> parts = {{each.text, false}};
      if (!each.answer.empty()) parts.push_back({"\nexpected: " + each.answer, false});
      summary_.shown.push_back(std::move(parts));
    }
  }

 private:
  // Whether this line is to be shown.
  bool add(std::size_t tokens, std::size_t trained) {
    const auto count = static_cast<std::int64_t>(tokens);
    summary_.shortest = summary_.tokens == 0 ? count : std::min(summary_.shortest, count);
    summary_.longest = std::max(summary_.longest, count);
    summary_.tokens += count;
    summary_.trained += static_cast<std::int64_t>(trained);
    return static_cast<std::int64_t>(summary_.shown.size()) < options_.show;
  }

  void show(const Conversation& conversation) {
    std::vector<ShownPart>& parts = summary_.shown.emplace_back();
    for (std::size_t i = 0; i < conversation.ids.size(); ++i) {
      const bool trained = conversation.trained[i] != 0;
      if (parts.empty() || parts.back().trained != trained) parts.push_back({"", trained});
      parts.back().text += tokenizer_.bytes_of(conversation.ids[i]);
    }
  }

  void show(const Comparison& comparison) {
    std::vector<ShownPart>& parts = summary_.shown.emplace_back();
    parts.push_back({tokenizer_.decode(comparison.prompt), false});
    for (std::size_t i = 0; i < comparison.answers.size(); ++i) {
      parts.push_back({fmt::format("\nrank {}: ", comparison.ranks[i]), false});
      parts.push_back({tokenizer_.decode(comparison.answers[i]), true});
    }
  }

  const ChatSummaryOptions& options_;
  const Tokenizer& tokenizer_;
  ChatSummary& summary_;
};

// Lines stay lines; what else a terminal would obey is spelled out.
std::string harmless(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += one_line(text.substr(0, end));
    if (end == text.size()) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

ChatSummary summarise_chat(const ChatSummaryOptions& options) {
  check_template(options.chat.chat_template);
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  ChatSummary summary;
  summary.kind = options.kind ? *options.kind : kind_of_files(options.files);
  for (const std::filesystem::path& file : options.files) summary.files.push_back(file.string());
  summary.chat_template = options.chat.chat_template;
  summary.end_of_turn = end_of_turn(tokenizer, options.chat.chat_template);
  summary.end_of_turn_text = tokenizer.bytes_of(summary.end_of_turn);
  Summariser summariser(options, tokenizer, summary);
  switch (summary.kind) {
    case ChatKind::kConversations:
      summariser.conversations();
      break;
    case ChatKind::kComparisons:
      summariser.comparisons();
      break;
    case ChatKind::kPrompts:
      summariser.prompts();
      break;
  }
  return summary;
}

std::string ChatSummary::to_text(bool colour) const {
  std::string text = fmt::format("{}: {} in the template {}\n",
                                 one_line(fmt::format("{}", fmt::join(files, ", "))),
                                 kind_name(kind), chat_template);
  text += fmt::format("used            {}\n", counts.used);
  text += fmt::format("bad             {}\n", counts.bad);
  text += fmt::format("too long        {}\n", counts.too_long);
  text += fmt::format("no shared turn  {}\n", counts.no_shared_turn);
  text += fmt::format("equal           {}\n", counts.equal);
  if (!counts.first_bad.empty()) {
    text += fmt::format("first skipped   {}\n", one_line(counts.first_bad));
  }
  text += fmt::format("tokens          {} ({} .. {} a line)\n", tokens, shortest, longest);
  if (kind != ChatKind::kPrompts) {
    text += fmt::format("{}         {} tokens, {:.1f} %\n",
                        kind == ChatKind::kComparisons ? "answers" : "trained", trained,
                        100 * share(trained, tokens));
  }
  text += fmt::format("end of turn     {} (id {})\n", end_of_turn_text, end_of_turn);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    text += fmt::format("\n--- {}\n", i + 1);
    for (const ShownPart& part : shown[i]) {
      const std::string words = harmless(part.text);
      if (!part.trained) {
        text += words;
      } else {
        text += fmt::format("{}[[{}]]{}", colour ? kColour : "", words, colour ? kNoColour : "");
      }
    }
    text += '\n';
  }
  return text;
}

std::string ChatSummary::to_json() const {
  json::array lines;
  for (const std::vector<ShownPart>& parts : shown) {
    json::array line;
    for (const ShownPart& part : parts) {
      line.push_back({{"text", valid_utf8(part.text)}, {"trained", part.trained}});
    }
    lines.push_back(std::move(line));
  }
  const json::object record{{"kind", kind_name(kind)},
                            {"files", json::value_from(files)},
                            {"template", chat_template},
                            {"used", counts.used},
                            {"bad", counts.bad},
                            {"too_long", counts.too_long},
                            {"no_shared_turn", counts.no_shared_turn},
                            {"equal", counts.equal},
                            {"first_skipped", counts.first_bad},
                            {"tokens", tokens},
                            {"trained_tokens", trained},
                            {"trained_share", share(trained, tokens)},
                            {"shortest", shortest},
                            {"longest", longest},
                            {"end_of_turn", end_of_turn},
                            {"shown", std::move(lines)}};
  return json::serialize(record) + "\n";
}

}  // namespace talaria::storage
