// SPDX-License-Identifier: Apache-2.0
#include "worker/chat_command.h"

#include <string>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "worker/chat/session.h"
#include "worker/model_options.h"

namespace talaria::worker {
namespace {

constexpr const char* kFooter =
    "A line is a turn; the terminal edits it. Lines that begin with / are commands: /help lists "
    "them.\nCtrl-C stops an answer, at the prompt it ends the conversation, as Ctrl-D does. With "
    "stdin from a\npipe each line is a turn and only answers go to stdout.";

struct ChatOptions {
  InferenceOptions model;
  ChatSettings settings;
};

void add_options(CLI::App& app, ChatOptions& options) {
  app.footer(kFooter);
  add_model_choice(app, options.model);
  app.add_option("--template", options.settings.chat_template,
                 "chatml, llama3, hh or plain; default: the one of a chat job's file");
  app.add_option("--system", options.settings.system, "the system message");
  app.add_option("--tokens", options.settings.tokens, "most tokens of an answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add_sampler(app, options.settings.sampler);
  app.add_flag("--json", options.settings.json,
               "a line of JSON an answer: prompt, answer, tokens, stopped");
  add_threads(app, options.model);
}

void choose_template(ChatOptions& options, const InferenceModel& model) {
  if (!options.settings.chat_template.empty()) return;
  const launch::Job& job = model.job();
  if (job.job.kind == "pretrain") {
    fail_usage(
        "--template: {} comes from a job of kind \"pretrain\", which names none; allowed: chatml, "
        "llama3, hh or plain",
        model.checkpoint().string());
  }
  options.settings.chat_template = job.data.chat;
}

}  // namespace

int chat_command(int argc, char** argv) {
  ChatOptions options;
  CLI::App app("A conversation with the model of a checkpoint.", argv[0]);
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  check_model_choice(argv[0], options.model);
  if (!options.settings.chat_template.empty()) {
    storage::check_template(options.settings.chat_template);
  }
  ChatTerminal terminal;  // before the model's threads
  int code = kExitDone;
  const std::unique_ptr<InferenceModel> model = InferenceModel::open(nullptr, options.model, code);
  if (!model) return code;
  choose_template(options, *model);
  ChatSession session(*model, terminal, options.settings);
  if (terminal.is_person()) {
    log_info("{}, template {}; /help lists the commands", model->checkpoint().string(),
             options.settings.chat_template);
  }
  return session.run();
}

}  // namespace talaria::worker
