// SPDX-License-Identifier: Apache-2.0
#include "storage/text/data_command.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <functional>
#include <limits>
#include <map>
#include <thread>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "storage/chat/chat_summary.h"
#include "storage/text/inspect.h"
#include "storage/text/prepare.h"
#include "storage/text/progress.h"
#include "storage/text/tokenizer.h"

namespace talaria::storage {
namespace {

namespace json = boost::json;

void write_stdout(std::string_view text) {
  write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "standard output");
}

std::string read_stdin() {
  std::string text;
  std::array<char, 1 << 16> block;
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    check_sys(got, "read", "standard input");
    if (got == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(got));
  }
}

void run_prepare(const PrepareOptions& options, bool as_json) {
  const PrepareResult result = prepare(options);
  if (as_json) {
    json::array sources;
    for (const PreparedSource& source : result.sources) {
      sources.push_back({{"name", source.name},
                         {"file", source.file.string()},
                         {"documents", source.documents},
                         {"tokens", source.tokens},
                         {"text_bytes", source.text_bytes},
                         {"bad_lines", source.bad_lines}});
    }
    const json::object record{{"reused", result.reused},
                              {"tokenizer", (options.out / "tokenizer").string()},
                              {"fingerprint", result.tokenizer},
                              {"vocab", result.vocab},
                              {"sources", std::move(sources)}};
    write_stdout(json::serialize(record) + "\n");
    return;
  }
  std::string text;
  if (result.reused) {
    text += fmt::format(
        "{}: the same text and options were prepared before; reused (--again makes "
        "it anew)\n",
        options.out.string());
  }
  text += fmt::format("tokenizer {}: {} ids\n", (options.out / "tokenizer").string(), result.vocab);
  for (const PreparedSource& source : result.sources) {
    text += fmt::format(
        "{}: {} documents, {} of text, {} tokens, {:.2f} bytes a token{}\n", source.file.string(),
        source.documents, human_bytes(source.text_bytes), source.tokens,
        static_cast<double>(source.text_bytes) / static_cast<double>(source.tokens),
        source.bad_lines == 0 ? "" : fmt::format(", {} bad lines left out", source.bad_lines));
  }
  write_stdout(text);
}

void run_encode(const std::string& folder) {
  const Tokenizer tokenizer = Tokenizer::load(folder);
  std::string text;
  for (const std::int32_t id : tokenizer.encode(read_stdin())) {
    if (!text.empty()) text += ' ';
    text += std::to_string(id);
  }
  write_stdout(text + "\n");
}

void run_decode(const std::string& folder) {
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const std::string text = read_stdin();
  constexpr std::string_view kBlanks = " \t\r\n";
  std::vector<std::int32_t> ids;
  for (std::size_t at = 0; (at = text.find_first_not_of(kBlanks, at)) != std::string::npos;) {
    const std::size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end) {
      fail_usage(
          "standard input: byte {}: \"{}\" is no token id; give whole numbers with blanks "
          "between",
          at, text.substr(at, std::min<std::size_t>(end - at, 20)));
    }
    ids.push_back(id);
    at = end;
  }
  write_stdout(tokenizer.decode(ids));
}

void add_prepare(CLI::App& app, PrepareOptions& options, std::string& tokenizer, bool& as_json) {
  CLI::App* command = app.add_subcommand(
      "prepare",
      "Turn text into token files.\n"
      "A .txt file is cut into documents at blank lines, but not before a document has\n"
      "--document-bytes bytes; text without blank lines is cut at the end of a line after 16\n"
      "times that (32 kB at least). In a .jsonl file a line is a document: an object with a\n"
      "string \"text\". Either may be compressed (.zst). A folder stands for all such files\n"
      "below it. Called again with the same input, it reuses what is there.");
  command->add_option("--out", options.out, "folder for tokenizer and token files")->required();
  auto* given = command->add_option("--tokenizer", tokenizer,
                                    "folder with encoder.json and vocab.bpe; else one is trained");
  command->add_option("--vocab", options.vocab, "ids of the trained tokenizer")
      ->capture_default_str()
      ->excludes(given);
  command->add_option("--threads", options.threads, "default: the cores of this machine");
  command->add_option("--document-bytes", options.document_bytes, "least size of a .txt document")
      ->capture_default_str();
  command->add_option("--max-bad", options.max_bad, "bad .jsonl lines a source may have")
      ->capture_default_str();
  command->add_flag("--again", options.again, "make everything anew");
  command->add_flag("--json", as_json, "the result as JSON");
  command->add_option("SOURCE", options.sources, "PATH or NAME=PATH")->required();
}

const std::map<std::string, ChatKind>& chat_kinds() {
  static const std::map<std::string, ChatKind> kinds = {{"conversations", ChatKind::kConversations},
                                                        {"comparisons", ChatKind::kComparisons},
                                                        {"prompts", ChatKind::kPrompts}};
  return kinds;
}

CLI::App* add_chat(CLI::App& app, ChatSummaryOptions& options, std::string& kind, bool& as_json) {
  CLI::App* command = app.add_subcommand(
      "chat",
      "Say what .jsonl files of conversations, comparisons or prompts hold: lines used and\n"
      "left out, tokens, the share of them that is trained. A line is an object with the keys\n"
      "messages; prompt, completion; prompt, chosen, rejected; chosen, rejected; prompt,\n"
      "answers [, ranks]; or prompt [, answer]. Bad lines are said on stderr.");
  options.chat.max_bad_lines = std::numeric_limits<std::int64_t>::max();
  options.chat.bad_lines_option = "--max-bad";
  std::vector<std::string> kinds;
  for (const auto& [name, value] : chat_kinds()) kinds.push_back(name);
  std::vector<std::string> templates;
  for (const std::string_view name : template_names()) templates.emplace_back(name);
  command->add_option("FILE", options.files, ".jsonl or .jsonl.zst")->required();
  command->add_option("--tokenizer", options.tokenizer, "folder with encoder.json and vocab.bpe")
      ->required();
  command->add_option("--template", options.chat.chat_template, "how messages are spelled")
      ->required()
      ->check(CLI::IsMember(templates));
  command->add_option("--as", kind, "what lines are read as; default: what the first line is")
      ->check(CLI::IsMember(kinds));
  command->add_option("--max-tokens", options.chat.max_tokens, "longer lines are left out")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-bad", options.chat.max_bad_lines, "more bad lines are an error")
      ->check(CLI::NonNegativeNumber)
      ->default_str("no limit");
  command->add_option("--show", options.show, "print so many lines, what is trained in [[ ]]")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", as_json, "as JSON");
  return command;
}

void run_chat(ChatSummaryOptions options, const std::string& kind, bool as_json) {
  if (!kind.empty()) options.kind = chat_kinds().at(kind);
  const ChatSummary summary = summarise_chat(options);
  write_stdout(as_json ? summary.to_json() : summary.to_text(::isatty(STDOUT_FILENO) == 1));
}

// Runs `action`; what it throws becomes a line and an exit code.
int guarded(const std::function<void()>& action) {
  try {
    action();
    return kExitDone;
  } catch (const UsageError& error) {
    log_line(error.what());
    return kExitUsage;
  } catch (const std::exception& error) {
    log_line(error.what());
    return kExitFailed;
  }
}

}  // namespace

int data_command(int argc, char** argv) {
  CLI::App app("Text in, token files out.", argv[0]);
  app.require_subcommand(1);
  PrepareOptions options;
  options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::string tokenizer;
  std::string file;
  bool as_json = false;
  bool verify = false;
  add_prepare(app, options, tokenizer, as_json);
  CLI::App* encode = app.add_subcommand("encode", "Print the ids of the text on standard input.");
  encode->add_option("TOKENIZER_DIR", tokenizer)->required();
  CLI::App* decode = app.add_subcommand("decode", "Print the text of the ids on standard input.");
  decode->add_option("TOKENIZER_DIR", tokenizer)->required();
  CLI::App* inspect = app.add_subcommand("inspect", "Say what a token file holds.");
  inspect->add_option("FILE", file)->required();
  inspect->add_flag("--verify", verify, "read and check every byte");
  inspect->add_flag("--json", as_json, "as JSON");
  inspect->add_option("--tokenizer", tokenizer, "folder; shows the first tokens as text");
  ChatSummaryOptions chat_options;
  std::string chat_kind;
  CLI::App* chat = add_chat(app, chat_options, chat_kind, as_json);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (!tokenizer.empty()) options.tokenizer = tokenizer;
  return guarded([&] {
    if (app.got_subcommand("prepare")) {
      run_prepare(options, as_json);
    } else if (app.got_subcommand(encode)) {
      run_encode(tokenizer);
    } else if (app.got_subcommand(decode)) {
      run_decode(tokenizer);
    } else if (app.got_subcommand(chat)) {
      run_chat(chat_options, chat_kind, as_json);
    } else {
      const TokenFileSummary summary = inspect_token_file(file, verify, tokenizer);
      write_stdout(as_json ? summary.to_json() : summary.to_text());
    }
  });
}

}  // namespace talaria::storage
