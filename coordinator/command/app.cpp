// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/app.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/api/client.h"

namespace talaria::coordinator {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 failed, 2 wrong usage or invalid job file, 75 stopped early with a\n"
    "checkpoint (run it again). Each command knows --help.";

// A command that has a command line of its own. It stands in the app for --help and completion; its
// arguments go to it as they are.
struct Foreign {
  const char* name;
  const char* description;
  std::vector<const char*> subcommands;
  std::vector<const char*> options = {};  // for completion
};

// Run by talaria-worker.
const std::vector<Foreign>& worker_commands() {
  static const std::vector<Foreign> commands = {
      {"data",
       "Prepare, encode, decode and inspect text and chat data.",
       {"prepare", "encode", "decode", "inspect", "chat"}},
      {"checkpoint",
       "List, show, verify, import and export checkpoints.",
       {"list", "show", "verify", "import", "export"}},
      {"generate", "Continue a prompt with a checkpoint.", {}},
      {"chat", "Talk with the model of a checkpoint.", {}},
      {"eval",
       "Measure checkpoints: perplexity, exact answers, rewards, win rates.",
       {"perplexity", "exact", "in-context", "reward", "win-rate"}},
      {"summary", "Tell what a run has reached.", {}}};
  return commands;
}

const std::vector<Foreign>& own_line_commands() {
  static const std::vector<Foreign> commands = {
      {"script",
       "Print a job as a script for mpirun or Slurm.",
       {},
       {"--set", "--run-dir", "--mpirun", "--slurm", "--nodes", "--time", "--partition",
        "--account", "--output"}},
      {"doctor", "Tell what this machine has, what is missing and how to get it.", {}, {"--json"}}};
  return commands;
}

void add_foreign(CLI::App& app, const std::vector<Foreign>& commands) {
  for (const Foreign& each : commands) {
    CLI::App* command = app.add_subcommand(each.name, each.description);
    for (const char* name : each.subcommands) command->add_subcommand(name);
    for (const char* name : each.options) command->add_flag(name);
  }
}

bool is_one_of(const std::vector<Foreign>& commands, const std::string& word) {
  return std::any_of(commands.begin(), commands.end(),
                     [&](const Foreign& each) { return each.name == word; });
}

[[noreturn]] void exec_worker(const Context& context, const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>(context.tools.worker.c_str())};
  for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  fail_errno("exec", context.tools.worker);
}

void add_commands(CLI::App& app, const Context& context, int& exit_code) {
  add_run(app, context, exit_code);
  add_coordinator(app, context, exit_code);
  add_submit(app, context, exit_code);
  add_ps(app, context, exit_code);
  add_show(app, context, exit_code);
  add_logs(app, context, exit_code);
  add_watch(app, context, exit_code);
  add_cancel(app, context, exit_code);
  add_retry(app, context, exit_code);
  add_foreign(app, own_line_commands());
  add_foreign(app, worker_commands());
  add_completion(app, context, exit_code);
}

void refuse_unknown(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  if (word.starts_with('-') || std::count(names.begin(), names.end(), word) > 0) return;
  const std::string nearest = nearest_word(word, names);
  fail_usage("talaria: {}: no such command{}; see talaria --help", in_quotes(word),
             nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest));
}

int parse_and_run(int argc, char** argv, const Context& context) {
  int exit_code = kExitDone;
  CLI::App app("Talaria trains GPT models over MPI ranks.", "talaria");
  app.footer(kExitCodes);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("talaria ") + TALARIA_VERSION);
  add_commands(app, context, exit_code);
  if (argc == 1) {
    fmt::print("{}", app.help());
    return kExitUsage;
  }
  refuse_unknown(app, argv[1]);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error) == 0 ? kExitDone : kExitUsage;
    // CLI11's text holds what the user typed.
    log_line(fmt::format("talaria: {}; see talaria --help", one_line(error.what())));
    return kExitUsage;
  }
  return exit_code;
}

int dispatch(int argc, char** argv, const Context& context) {
  const std::string word = argc > 1 ? argv[1] : "";
  const std::vector<std::string> rest(argv + std::min(argc, 2), argv + argc);
  if (is_one_of(worker_commands(), word)) {
    std::vector<std::string> arguments = {word};
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    exec_worker(context, arguments);
  }
  if (word == "script") return context.parts.script(rest, context.tools);
  if (word == "doctor") return context.parts.doctor(rest, context.tools);
  return parse_and_run(argc, argv, context);
}

}  // namespace

int command_main(int argc, char** argv, const Context& context) {
  try {
    return dispatch(argc, argv, context);
  } catch (const UsageError& error) {
    log_line(error.what());
    return kExitUsage;
  } catch (const Refusal& refusal) {
    log_line(refusal.what());
    const bool by_user = refusal.status >= 400 && refusal.status < 500;
    return by_user ? kExitUsage : kExitFailed;
  } catch (const std::exception& error) {
    log_line(error.what());
    return kExitFailed;
  }
}

}  // namespace talaria::coordinator
