// SPDX-License-Identifier: Apache-2.0
#include "worker/chat/session.h"

#include <algorithm>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_file.h"
#include "worker/text_stream.h"

namespace talaria::worker {
namespace {

constexpr const char* kHelp =
    "/reset        forget what was said; the system message stays\n"
    "/system TEXT  the system message from now on; without TEXT: none\n"
    "/save FILE    append the conversation to FILE as a line of JSON (\"messages\")\n"
    "/quit         end, as Ctrl-D does; Ctrl-C ends too, and stops an answer while one comes\n"
    "/help         this list\n"
    "//TEXT        say /TEXT";

// Thrown out of the generator to end an answer.
struct EndAnswer {};

// Bytes of tokens become words on the terminal: whole characters, nothing of a marker, in hh not
// the blank that belongs to the template.
class WordStream {
 public:
  WordStream(std::string_view chat_template, const ChatTerminal& terminal, bool shows)
      : template_(chat_template), terminal_(terminal), shows_(shows) {}

  // False: a marker came, which no message may hold.
  bool push(std::string_view bytes) {
    text_ += stream_.push(bytes);
    const storage::PlainWords plain = storage::plain_words(template_, text_);
    show(plain.bytes);
    if (plain.marker) text_.resize(plain.bytes);
    return !plain.marker;
  }

  // What was held back belongs to the words after all.
  std::string finish() {
    show(text_.size());
    return std::string(storage::answer_content(template_, text_));
  }

 private:
  void show(std::size_t bytes) {
    if (bytes <= shown_) return;
    std::string_view words = std::string_view(text_).substr(0, bytes);
    const std::size_t lead = words.size() - storage::answer_content(template_, words).size();
    shown_ = std::max(shown_, lead);
    if (shows_) terminal_.write(words.substr(std::min(shown_, words.size())));
    shown_ = bytes;
  }

  std::string_view template_;
  const ChatTerminal& terminal_;
  bool shows_;
  TextStream stream_;
  std::string text_;
  std::size_t shown_ = 0;
};

}  // namespace

ChatSession::ChatSession(InferenceModel& model, ChatTerminal& terminal,
                         const ChatSettings& settings)
    : model_(model),
      terminal_(terminal),
      settings_(settings),
      history_(settings.chat_template, model.tokenizer()),
      generator_(model.make_generator(1)),
      end_of_turn_(storage::end_of_turn(model.tokenizer(), settings.chat_template)) {
  history_.set_system(settings.system);
}

int ChatSession::run() {
  while (const std::optional<std::string> line = terminal_.next_line("> ")) {
    try {
      if (!use(*line)) return kExitDone;
    } catch (const UsageError& error) {
      log_line(error.what());
      if (!terminal_.is_person()) return kExitUsage;
    }
  }
  if (terminal_.is_person()) terminal_.write("\n");
  return kExitDone;
}

bool ChatSession::use(const std::string& line) {
  if (line.find_first_not_of(" \t") == std::string::npos) return true;
  if (line.starts_with("//")) {
    turn(line.substr(1));
  } else if (line.starts_with('/')) {
    return command(line);
  } else {
    turn(line);
  }
  return true;
}

bool ChatSession::command(const std::string& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string name = line.substr(0, end);
  const std::size_t text = std::min(line.find_first_not_of(' ', end), line.size());
  const std::string rest = line.substr(text);
  if (name == "/quit") return false;
  if (name == "/help") {
    log_line(kHelp);
  } else if (name == "/reset") {
    history_.reset();
    told_dropped_ = false;
  } else if (name == "/system") {
    history_.set_system(rest);
  } else if (name == "/save") {
    save(rest);
  } else {
    fail_usage("{}: no such command; /help lists them, //TEXT says /TEXT", in_quotes(name));
  }
  return true;
}

void ChatSession::save(const std::string& path) const {
  if (path.empty()) fail_usage("/save: name a file");
  const std::vector<storage::Message> messages = history_.messages();
  if (messages.empty() || messages.back().role != storage::Role::kAssistant) {
    fail_usage("/save: nothing was answered yet");
  }
  boost::json::array list;
  for (const storage::Message& each : messages) {
    list.push_back(
        boost::json::object{{"role", storage::role_name(each.role)}, {"content", each.content}});
  }
  try {
    append_line(path, boost::json::serialize(boost::json::object{{"messages", std::move(list)}}));
  } catch (const Error& error) {
    // A mistyped folder shall not cost the conversation.
    fail_usage("/save: {}", one_line(error.what()));
  }
  log_info("{} messages appended to {}", messages.size(), one_line(path));
}

void ChatSession::tell_dropped() {
  if (history_.dropped() == 0 || told_dropped_) return;
  told_dropped_ = true;
  log_info("the context of {} tokens is full: from now on the oldest turns are forgotten",
           model_.job().model.context);
}

void ChatSession::turn(const std::string& user) {
  const std::int64_t context = model_.job().model.context;
  // An answer finds a quarter of the context free.
  const std::int64_t reserved = std::max<std::int64_t>(1, std::min(settings_.tokens, context / 4));
  const std::vector<std::int32_t> ids = history_.ask(user, context - reserved);
  tell_dropped();
  const Answer answered = answer(ids);
  if (settings_.json) {
    terminal_.write(boost::json::serialize(boost::json::object{{"prompt", user},
                                                               {"answer", answered.words},
                                                               {"tokens", answered.tokens},
                                                               {"stopped", answered.stopped}}));
  }
  terminal_.write("\n");
  const bool kept = history_.answered(answered.words);
  if (!terminal_.is_person()) return;
  if (!kept) {
    log_line("(no words; the turn is forgotten)");
  } else if (answered.interrupted) {
    log_line("(stopped; what was said is kept)");
  } else if (!answered.stopped) {
    log_info("(cut after {} tokens: --tokens {}, context {})", answered.tokens, settings_.tokens,
             context);
  }
}

ChatSession::Answer ChatSession::answer(const std::vector<std::int32_t>& ids) {
  model::GenerationOptions generation;
  generation.sampler = settings_.sampler;
  generation.max_tokens = settings_.tokens;
  generation.stop_ids = {end_of_turn_, model_.tokenizer().end_of_text()};
  generation.vocab = model_.tokenizer().vocab_size();
  const std::vector<model::Prompt> prompts = {{ids, turns_++}};
  Answer answer;
  WordStream words(settings_.chat_template, terminal_, !settings_.json);
  try {
    generator_.generate(prompts, generation, [&](std::size_t /*prompt*/, std::int32_t id) {
      ++answer.tokens;
      answer.stopped = std::find(generation.stop_ids.begin(), generation.stop_ids.end(), id) !=
                       generation.stop_ids.end();
      if (!answer.stopped) answer.stopped = !words.push(model_.tokenizer().bytes_of(id));
      answer.interrupted = !answer.stopped && terminal_.interrupted();
      if (answer.interrupted || answer.stopped) throw EndAnswer{};
    });
  } catch (const EndAnswer&) {
  }
  // A Ctrl-C that came with the last token was meant for this answer.
  terminal_.interrupted();
  answer.words = words.finish();
  return answer;
}

}  // namespace talaria::worker
