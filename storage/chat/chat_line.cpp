// SPDX-License-Identifier: Apache-2.0
#include "storage/chat/chat_line.h"

#include <algorithm>
#include <cmath>

#include <simdjson.h>

#include "cluster/base/text.h"

namespace talaria::storage {
namespace {

namespace dom = simdjson::dom;

constexpr std::string_view kBlanks = " \t\n\v\f\r";
constexpr std::string_view kHuman = "\n\nHuman:";
constexpr std::string_view kAssistant = "\n\nAssistant:";
constexpr std::size_t kKeysSaid = 6;

template <class... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  throw SkippedLine(Skip::kBad, fmt::format(format, std::forward<Args>(args)...));
}

enum Key : unsigned {
  kMessages = 1,
  kPrompt = 2,
  kCompletion = 4,
  kChosen = 8,
  kRejected = 16,
  kAnswers = 32,
  kRanks = 64,
  kAnswer = 128
};

struct NamedKey {
  std::string_view name;
  Key key;
};
constexpr NamedKey kKeys[] = {{"messages", kMessages},     {"prompt", kPrompt},
                              {"completion", kCompletion}, {"chosen", kChosen},
                              {"rejected", kRejected},     {"answers", kAnswers},
                              {"ranks", kRanks},           {"answer", kAnswer}};

constexpr std::string_view kShapes =
    "messages; prompt, completion; prompt, chosen, rejected; chosen, rejected; prompt, answers "
    "[, ranks]; prompt [, answer]";

std::string list_keys(const std::vector<std::string_view>& keys) {
  if (keys.empty()) return "it has no keys";
  std::string text = keys.size() == 1 ? "its key is" : "its keys are";
  for (std::size_t i = 0; i < std::min(keys.size(), kKeysSaid); ++i) {
    text += fmt::format("{} {}", i == 0 ? "" : ",", in_quotes(keys[i]));
  }
  if (keys.size() > kKeysSaid) text += fmt::format(" and {} more", keys.size() - kKeysSaid);
  return text;
}

void refuse_twice(std::vector<std::string_view> keys, std::string_view where) {
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) bad("{} has the key {} twice", where, in_quotes(*twice));
}

// Which of our keys the object has. Keys of others (ids, sources, scores) may stand beside them.
unsigned known_keys(dom::object object) {
  std::vector<std::string_view> keys;
  unsigned mask = 0;
  for (const dom::key_value_pair field : object) {
    keys.push_back(field.key);
    for (const NamedKey& known : kKeys) {
      if (known.name == field.key) mask |= known.key;
    }
  }
  refuse_twice(keys, "the object");
  switch (mask) {
    case kMessages:
    case kPrompt:
    case kPrompt | kAnswer:
    case kPrompt | kCompletion:
    case kPrompt | kChosen | kRejected:
    case kChosen | kRejected:
    case kPrompt | kAnswers:
    case kPrompt | kAnswers | kRanks:
      return mask;
    default:
      bad("unknown shape: {}; allowed: {}", list_keys(keys), kShapes);
  }
}

dom::element get(dom::object object, std::string_view key) {
  dom::element element;
  if (object.at_key(key).get(element) != simdjson::SUCCESS) bad("there is no {}", in_quotes(key));
  return element;
}

std::string get_text(dom::element element, std::string_view what) {
  std::string_view text;
  if (element.get(text) != simdjson::SUCCESS) bad("{} is no string", what);
  // The escape of half a surrogate pair passes the parser.
  if (utf8_prefix(text) != text.size()) bad("{} is not UTF-8", what);
  return std::string(text);
}

Role get_role(dom::element element) {
  const std::string name = get_text(element, "a message's \"role\"");
  for (const Role role : {Role::kSystem, Role::kUser, Role::kAssistant}) {
    if (role_name(role) == name) return role;
  }
  bad("unknown role {}; allowed: system, user, assistant", in_quotes(name));
}

void check_words(const Message& message) {
  if (message.role == Role::kAssistant &&
      message.content.find_first_not_of(kBlanks) == std::string::npos) {
    bad("an assistant's message has no words");
  }
}

std::vector<Message> get_messages(dom::element element, std::string_view what) {
  dom::array array;
  if (element.get(array) != simdjson::SUCCESS) bad("{} is no list of messages", what);
  std::vector<Message> messages;
  for (const dom::element each : array) {
    dom::object object;
    if (each.get(object) != simdjson::SUCCESS) bad("{} holds a message that is no object", what);
    std::vector<std::string_view> keys;
    for (const dom::key_value_pair field : object) keys.push_back(field.key);
    refuse_twice(keys, "a message");
    messages.push_back(
        {get_role(get(object, "role")), get_text(get(object, "content"), "a message's content")});
    check_words(messages.back());
  }
  if (messages.empty()) bad("{} is empty", what);
  return messages;
}

std::vector<Message> get_prompt(dom::element element) {
  if (element.is_array()) return get_messages(element, "\"prompt\"");
  return {{Role::kUser, get_text(element, "\"prompt\"")}};
}

Message get_answer(dom::element element, std::string_view what) {
  if (element.is_array()) {
    std::vector<Message> messages = get_messages(element, what);
    if (messages.size() != 1 || messages[0].role != Role::kAssistant) {
      bad("{} is {} messages, the first of the {}; allowed: a string or one message of the "
          "assistant",
          what, messages.size(), role_name(messages[0].role));
    }
    return messages[0];
  }
  Message message{Role::kAssistant, get_text(element, what)};
  check_words(message);
  return message;
}

std::vector<Message> get_transcript(dom::element element, std::string_view what) {
  if (element.is_array()) return get_messages(element, what);
  return transcript_turns(get_text(element, what));
}

// Numbers to 0, 1, ... in their order, equal ones alike.
std::vector<std::int32_t> dense_ranks(const std::vector<double>& ranks) {
  std::vector<double> values = ranks;
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  std::vector<std::int32_t> dense;
  dense.reserve(ranks.size());
  for (const double rank : ranks) {
    dense.push_back(static_cast<std::int32_t>(std::lower_bound(values.begin(), values.end(), rank) -
                                              values.begin()));
  }
  return dense;
}

std::vector<std::int32_t> get_ranks(dom::element element, std::size_t answers) {
  dom::array array;
  if (element.get(array) != simdjson::SUCCESS) bad("\"ranks\" is no list of numbers");
  std::vector<double> ranks;
  for (const dom::element each : array) {
    double rank = 0;
    if (each.get(rank) != simdjson::SUCCESS || !std::isfinite(rank)) {
      bad("\"ranks\" holds what is no finite number");
    }
    ranks.push_back(rank);
  }
  if (ranks.size() != answers) bad("{} ranks for {} answers", ranks.size(), answers);
  return dense_ranks(ranks);
}

std::vector<std::int32_t> ranks_in_order(std::size_t answers) {
  std::vector<std::int32_t> ranks;
  for (std::size_t i = 0; i < answers; ++i) ranks.push_back(static_cast<std::int32_t>(i));
  return ranks;
}

void read_answers(dom::object object, bool ranked, ChatLine& line) {
  dom::array array;
  if (get(object, "answers").get(array) != simdjson::SUCCESS) bad("\"answers\" is no list");
  for (const dom::element each : array) line.answers.push_back(get_answer(each, "an answer"));
  const std::size_t count = line.answers.size();
  if (count < kLeastAnswers || count > kMostAnswers) {
    bad("{} answers; allowed: {} to {}", count, kLeastAnswers, kMostAnswers);
  }
  line.ranks = ranked ? get_ranks(get(object, "ranks"), count) : ranks_in_order(count);
}

void check_preferred(const std::vector<std::int32_t>& ranks, std::string_view why) {
  if (std::all_of(ranks.begin(), ranks.end(), [](int rank) { return rank == 0; })) {
    bad("{}, no answer is preferred", why);
  }
}

// Equal answers tie at the best of their ranks: no model can tell them apart.
void tie_equal_answers(ChatLine& line) {
  std::vector<double> ranks;
  for (const Message& answer : line.answers) {
    std::int32_t best = static_cast<std::int32_t>(line.answers.size());
    for (std::size_t i = 0; i < line.answers.size(); ++i) {
      if (line.answers[i] == answer) best = std::min(best, line.ranks[i]);
    }
    ranks.push_back(best);
  }
  line.ranks = dense_ranks(ranks);
}

void check_comparison(ChatLine& line) {
  if (std::all_of(line.answers.begin(), line.answers.end(),
                  [&](const Message& each) { return each == line.answers[0]; })) {
    throw SkippedLine(Skip::kEqual, "all answers are the same");
  }
  check_preferred(line.ranks, "all ranks are the same");
  tie_equal_answers(line);
  check_preferred(line.ranks, "equal answers tie, and so all ranks are the same");
}

ChatLine read_line(dom::object object) {
  const unsigned keys = known_keys(object);
  ChatLine line;
  if (keys == kMessages) {
    line.prompt = get_messages(get(object, "messages"), "\"messages\"");
    if (line.prompt.back().role == Role::kAssistant) {
      line.answers.push_back(std::move(line.prompt.back()));
      line.prompt.pop_back();
    }
    return line;
  }
  if (keys == (kChosen | kRejected)) {
    line.transcripts = {get_transcript(get(object, "chosen"), "\"chosen\""),
                        get_transcript(get(object, "rejected"), "\"rejected\"")};
    return line;
  }
  line.prompt = get_prompt(get(object, "prompt"));
  if ((keys & kAnswer) != 0) line.expected = get_text(get(object, "answer"), "\"answer\"");
  if ((keys & kCompletion) != 0) {
    line.answers = {get_answer(get(object, "completion"), "\"completion\"")};
  }
  if ((keys & kChosen) != 0) {
    line.answers = {get_answer(get(object, "chosen"), "\"chosen\""),
                    get_answer(get(object, "rejected"), "\"rejected\"")};
    line.ranks = ranks_in_order(2);
  }
  if ((keys & kAnswers) != 0) read_answers(object, (keys & kRanks) != 0, line);
  if (line.answers.size() > 1) check_comparison(line);
  return line;
}

}  // namespace

struct ChatLineParser::State {
  dom::parser parser;
  std::string padded;
};

ChatLineParser::ChatLineParser() : state_(std::make_unique<State>()) {}

ChatLineParser::~ChatLineParser() = default;

ChatLine ChatLineParser::parse(std::string_view line) {
  State& s = *state_;
  s.padded.assign(line);
  s.padded.append(simdjson::SIMDJSON_PADDING, '\0');
  dom::element element;
  const auto error = s.parser.parse(s.padded.data(), line.size(), false).get(element);
  if (error == simdjson::UTF8_ERROR) bad("invalid UTF-8");
  if (error != simdjson::SUCCESS) bad("broken JSON: {}", one_line(simdjson::error_message(error)));
  dom::object object;
  if (element.get(object) != simdjson::SUCCESS) bad("not a JSON object");
  return read_line(object);
}

void split_transcripts(ChatLine& line) {
  if (!line.is_transcripts()) return;
  const std::vector<Message>& chosen = line.transcripts[0];
  const std::vector<Message>& rejected = line.transcripts[1];
  const auto [end, other_end] =
      std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end());
  const auto left = chosen.end() - end;
  const auto other_left = rejected.end() - other_end;
  if (left == 0 && other_left == 0) {
    throw SkippedLine(Skip::kEqual, "chosen and rejected are the same");
  }
  if (end == chosen.begin()) {
    throw SkippedLine(Skip::kNoSharedTurn, "chosen and rejected share no turn at their beginning");
  }
  if (left != 1 || other_left != 1) {
    bad("behind the last turn they share, chosen has {} and rejected {} turns; allowed: one each",
        left, other_left);
  }
  if (end->role != Role::kAssistant || other_end->role != Role::kAssistant) {
    bad("what follows the last turn that chosen and rejected share is not the assistant's");
  }
  line.prompt.assign(chosen.begin(), end);
  line.answers = {*end, *other_end};
  line.ranks = ranks_in_order(2);
  line.transcripts = {};
}

std::vector<Message> transcript_turns(std::string_view text) {
  std::vector<Message> turns;
  std::size_t at = 0;
  // The next of each marker from `at` on, looked for once, or a long text would cost its square.
  std::size_t human = text.find(kHuman);
  std::size_t assistant = text.find(kAssistant);
  while (at < text.size() && (human == at || assistant == at)) {
    const Role role = human == at ? Role::kUser : Role::kAssistant;
    at += role == Role::kUser ? kHuman.size() : kAssistant.size();
    if (role == Role::kUser) {
      human = text.find(kHuman, at);
    } else {
      assistant = text.find(kAssistant, at);
    }
    if (at < text.size() && text[at] == ' ') ++at;
    const std::size_t end = std::min({human, assistant, text.size()});
    turns.push_back({role, std::string(text.substr(at, end - at))});
    check_words(turns.back());
    at = end;
  }
  if (turns.empty()) {
    bad("a transcript begins with {}; allowed: {} or {}", in_quotes(text.substr(0, 20)),
        in_quotes(kHuman), in_quotes(kAssistant));
  }
  return turns;
}

}  // namespace talaria::storage
