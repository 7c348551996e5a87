// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/match.h"

#include <algorithm>
#include <optional>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_file.h"
#include "storage/chat/chat_line.h"
#include "worker/eval/report.h"
#include "worker/exchange.h"
#include "worker/line_file.h"

namespace talaria::worker {
namespace {

using storage::Message;
using storage::Role;

constexpr const char* kNoTemplate = "none";

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

Example chat_example(std::string_view line, const std::string& where,
                     storage::ChatLineParser& parser) {
  Example example;
  example.where = where;
  try {
    storage::ChatLine parsed = parser.parse(line);
    if (parsed.is_transcripts() || parsed.answers.size() > 1) {
      fail_usage("{}: several answers; allowed: one (completion), or \"answer\"", where);
    }
    example.prompt = std::move(parsed.prompt);
    example.expected = parsed.expected.empty() && parsed.answers.size() == 1
                           ? parsed.answers.front().content
                           : parsed.expected;
  } catch (const storage::SkippedLine& skipped) {
    fail_usage("{}: {}", where, skipped.what());
  }
  return example;
}

Example text_example(std::string_view line, const std::string& where) {
  const boost::json::object object =
      parse_object(line, where, "with strings \"context\" and \"completion\"");
  return {{{Role::kUser, string_member(object, "context", where)}},
          string_member(object, "completion", where),
          where};
}

// One file's examples and what became of them.
struct Part {
  std::string file;
  std::vector<Example> shots;
  std::vector<Example> examples;
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<Answer> answers;
  std::vector<std::string> texts;  // of the answers, as they are compared
  std::int64_t correct = 0;
  std::int64_t unfinished = 0;
};

class Matching {
 public:
  Matching(InferenceModel& model, const MatchOptions& options)
      : model_(model), options_(options), chat_(options.chat_template) {
    if (options.in_context) {
      chat_ = kNoTemplate;
    } else if (chat_.empty()) {
      const launch::Job& job = model.job();
      chat_ = job.job.kind == "pretrain" ? kNoTemplate : job.data.chat;
    }
    if (is_chat()) storage::check_template(chat_);
  }

  void read() {
    for (const auto& file : options_.files) parts_.push_back(read_part(file));
    answer_options_ = options_.answer;
    answer_options_.stop_ids = {model_.tokenizer().end_of_text()};
    if (is_chat()) {
      answer_options_.stop_ids.push_back(storage::end_of_turn(model_.tokenizer(), chat_));
      return;
    }
    // A text's answer is the rest of its line.
    for (std::int32_t id = 0; id < model_.tokenizer().vocab_size(); ++id) {
      if (model_.tokenizer().bytes_of(id).find('\n') != std::string_view::npos) {
        answer_options_.stop_ids.push_back(id);
      }
    }
  }

  void answer() {
    for (Part& part : parts_) {
      part.answers = answer_all(model_, part.prompts, answer_options_);
      for (std::size_t i = 0; i < part.answers.size(); ++i) {
        part.texts.push_back(words_of(part.answers[i]));
        part.correct += same_answer(part.texts[i], part.examples[i].expected) ? 1 : 0;
        part.unfinished += part.answers[i].stopped ? 0 : 1;
      }
    }
  }

  void write_out() const;
  void print() const;

 private:
  bool is_chat() const { return chat_ != kNoTemplate; }

  Part read_part(const std::filesystem::path& file) const {
    Part part;
    part.file = file.string();
    part.examples = read_examples(file, options_.in_context);
    const auto shots = static_cast<std::ptrdiff_t>(options_.shots);
    if (static_cast<std::ptrdiff_t>(part.examples.size()) <= shots) {
      fail_usage("{}: {} lines; --shots {} takes the first ones and leaves none",
                 one_line(part.file), part.examples.size(), options_.shots);
    }
    part.shots.assign(part.examples.begin(), part.examples.begin() + shots);
    part.examples.erase(part.examples.begin(), part.examples.begin() + shots);
    if (options_.limit > 0 && static_cast<std::int64_t>(part.examples.size()) > options_.limit) {
      part.examples.resize(static_cast<std::size_t>(options_.limit));
    }
    for (const Example& each : part.examples) part.prompts.push_back(ids_of(part, each));
    return part;
  }

  std::vector<std::int32_t> ids_of(const Part& part, const Example& example) const {
    if (stripped(example.expected).empty()) {
      fail_usage("{}: no expected answer; give each line {}", example.where,
                 options_.in_context ? "\"completion\"" : "\"completion\" or \"answer\"");
    }
    if (!is_chat() && stripped(example.expected).find('\n') != std::string_view::npos) {
      fail_usage(
          "{}: an answer of several lines; as text only an answer of one line is known to "
          "end",
          example.where);
    }
    std::vector<std::int32_t> ids;
    try {
      ids = is_chat() ? storage::encode_open(turns_of(part, example), model_.tokenizer(), chat_)
                      : text_ids(part, example);
    } catch (const UsageError& error) {
      fail_usage("{}: {}", example.where, error.what());
    }
    // The answer's own tokens and what ends it must have room, or it could not be found.
    const std::size_t needed = model_.tokenizer().encode(example.expected).size() + 1;
    if (static_cast<std::int64_t>(ids.size() + needed) > model_.job().model.context) {
      fail_usage(
          "{}: {} tokens of the prompt and {} of the expected answer do not fit the context of {}; "
          "{}",
          example.where, ids.size(), needed, model_.job().model.context,
          options_.shots > 0 ? "lower --shots" : "shorten it");
    }
    return ids;
  }

  std::vector<Message> turns_of(const Part& part, const Example& example) const {
    std::vector<Message> all;
    for (const Example& shot : part.shots) {
      all.insert(all.end(), shot.prompt.begin(), shot.prompt.end());
      all.push_back({Role::kAssistant, shot.expected});
    }
    all.insert(all.end(), example.prompt.begin(), example.prompt.end());
    return all;
  }

  std::vector<std::int32_t> text_ids(const Part& part, const Example& example) const {
    if (example.prompt.size() != 1) {
      fail_usage("a prompt of {} messages is no text; name a --template", example.prompt.size());
    }
    std::vector<std::int32_t> ids =
        model_.tokenizer().encode(joined_text(part.shots, example.prompt, options_.in_context));
    if (ids.empty()) fail_usage("the prompt is empty");
    return ids;
  }

  std::string words_of(const Answer& answer) const {
    if (is_chat()) return std::string(storage::answer_content(chat_, answer.text));
    // The token that ended the line may have begun with the answer's end: "5\n".
    std::string text = valid_utf8(model_.tokenizer().decode(answer.ids));
    if (answer.stopped && answer.ids.back() == model_.tokenizer().end_of_text()) text = answer.text;
    const std::size_t first = text.find_first_not_of(" \t\n\v\f\r");
    return text.substr(0, text.find('\n', first == std::string::npos ? 0 : first));
  }

  InferenceModel& model_;
  const MatchOptions& options_;
  std::string chat_;
  AnswerOptions answer_options_;
  std::vector<Part> parts_;
};

void Matching::write_out() const {
  if (options_.out.empty()) return;
  std::string lines;
  for (const Part& part : parts_) {
    for (std::size_t i = 0; i < part.examples.size(); ++i) {
      const Example& example = part.examples[i];
      std::string prompt;
      for (const Message& each : example.prompt) {
        prompt += (prompt.empty() ? "" : "\n") + each.content;
      }
      lines += boost::json::serialize(
                   boost::json::object{{"prompt", prompt},
                                       {"expected", example.expected},
                                       {"answer", part.texts[i]},
                                       {"correct", same_answer(part.texts[i], example.expected)},
                                       {"stopped", part.answers[i].stopped}}) +
               "\n";
    }
  }
  write_file_atomic(options_.out, lines);
}

void Matching::print() const {
  const auto share = [](const Part& part) {
    return static_cast<double>(part.correct) / static_cast<double>(part.examples.size());
  };
  if (options_.json) {
    boost::json::array files;
    for (const Part& part : parts_) {
      const auto count = static_cast<std::int64_t>(part.examples.size());
      const Interval interval = wilson(share(part), count);
      files.push_back(boost::json::object{{"file", part.file},
                                          {"examples", count},
                                          {"correct", part.correct},
                                          {"accuracy", share(part)},
                                          {"interval", {interval.low, interval.high}},
                                          {"unfinished", part.unfinished}});
    }
    const boost::json::object all = {{"task", options_.in_context ? "in-context" : "exact"},
                                     {"checkpoint", model_.checkpoint().string()},
                                     {"template", chat_},
                                     {"shots", options_.shots},
                                     {"files", std::move(files)}};
    fmt::print("{}\n", boost::json::serialize(all));
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"file", "examples", "correct", "accuracy (95 %)", "unfinished"}};
  for (const Part& part : parts_) {
    const auto count = static_cast<std::int64_t>(part.examples.size());
    rows.push_back({one_line(std::filesystem::path(part.file).filename().string()),
                    std::to_string(count), std::to_string(part.correct),
                    share_text(share(part), count), std::to_string(part.unfinished)});
  }
  fmt::print("checkpoint {}, template {}, {} shots\n{}", one_line(model_.checkpoint().string()),
             chat_, options_.shots, table_text(rows));
}

}  // namespace

std::vector<Example> read_examples(const std::filesystem::path& file, bool in_context) {
  std::vector<Example> examples;
  storage::ChatLineParser parser;
  for_each_line("eval", file, [&](std::string_view line, const std::string& where) {
    examples.push_back(in_context ? text_example(line, where) : chat_example(line, where, parser));
  });
  return examples;
}

std::string joined_text(const std::vector<Example>& shots, const std::vector<Message>& prompt,
                        bool in_context) {
  std::string text;
  const auto add = [&](const std::vector<Message>& messages) {
    if (!text.empty() && !(in_context && messages.front().content.starts_with('\n'))) {
      text += "\n\n";
    }
    text += messages.front().content;
  };
  for (const Example& shot : shots) {
    add(shot.prompt);
    text += shot.expected;
  }
  add(prompt);
  return text;
}

bool same_answer(std::string_view answer, std::string_view expected) {
  return stripped(answer) == stripped(expected);
}

int eval_match(parallel::Process* process, const MatchOptions& options) {
  int code = kExitDone;
  const std::unique_ptr<InferenceModel> model = InferenceModel::open(process, options.model, code);
  if (!model) return code;
  std::optional<Matching> matching;
  code = agree(*model->groups().world, [&] {
    matching.emplace(*model, options);
    matching->read();
  });
  if (code != kExitDone) return code;
  matching->answer();
  return agree(*model->groups().world, [&] {
    if (!model->leads()) return;
    matching->write_out();
    matching->print();
  });
}

}  // namespace talaria::worker
