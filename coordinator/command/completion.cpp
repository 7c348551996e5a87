// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/completion.h"

#include <memory>

#include <CLI/CLI.hpp>

#include "cluster/base/text.h"
#include "coordinator/command/app.h"

namespace talaria::coordinator {
namespace {

struct Word {
  std::string text;
  std::string description;
};

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<Word> options_of(const CLI::App& app) {
  std::vector<Word> words;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) {
      words.push_back({"--" + name, option->get_description()});
    }
  }
  return words;
}

std::string joined(const std::vector<Word>& words) {
  std::string text;
  for (const Word& word : words) text += (text.empty() ? "" : " ") + word.text;
  return text;
}

std::vector<Word> names_of(const std::vector<const CLI::App*>& commands) {
  std::vector<Word> words;
  words.reserve(commands.size());
  for (const CLI::App* command : commands) {
    words.push_back({command->get_name(), command->get_description()});
  }
  return words;
}

// "run) words='--set ...' ;;" for each command.
std::string cases(const CLI::App& app) {
  std::string text;
  for (const CLI::App* command : commands_of(app)) {
    std::vector<Word> words = names_of(commands_of(*command));
    const std::vector<Word> options = options_of(*command);
    words.insert(words.end(), options.begin(), options.end());
    text += fmt::format("    {}) words={} ;;\n", command->get_name(), shell_quote(joined(words)));
  }
  return text;
}

std::string bash_text(const CLI::App& app) {
  return fmt::format(
      "# Completion of talaria for bash. Use: source <(talaria completion bash)\n"
      "_talaria() {{\n"
      "  local words=\n"
      "  case ${{COMP_WORDS[1]}} in\n"
      "{}"
      "  esac\n"
      "  [ \"$COMP_CWORD\" -gt 1 ] || words={}\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n"
      "}}\n"
      "complete -o default -F _talaria talaria\n",
      cases(app), shell_quote(joined(names_of(commands_of(app)))));
}

std::string zsh_text(const CLI::App& app) {
  return fmt::format(
      "#compdef talaria\n"
      "# Completion of talaria for zsh. Use: source <(talaria completion zsh)\n"
      "_talaria() {{\n"
      "  local words=\n"
      "  case ${{words_typed[2]:-}} in\n"
      "{}"
      "  esac\n"
      "  (( CURRENT > 2 )) || words={}\n"
      "  compadd -- ${{=words}}\n"
      "  _files\n"
      "}}\n"
      "compdef _talaria talaria\n",
      cases(app), shell_quote(joined(names_of(commands_of(app)))));
}

std::string fish_text(const CLI::App& app) {
  std::string text = "# Completion of talaria for fish. Use: talaria completion fish | source\n";
  for (const CLI::App* command : commands_of(app)) {
    const std::string name = command->get_name();
    text += fmt::format("complete -c talaria -n __fish_use_subcommand -f -a {} -d {}\n", name,
                        shell_quote(command->get_description()));
    for (const Word& sub : names_of(commands_of(*command))) {
      text += fmt::format("complete -c talaria -n '__fish_seen_subcommand_from {}' -f -a {}\n",
                          name, sub.text);
    }
    for (const Word& option : options_of(*command)) {
      text += fmt::format("complete -c talaria -n '__fish_seen_subcommand_from {}' -l {} -d {}\n",
                          name, option.text.substr(2), shell_quote(option.description));
    }
  }
  return text;
}

}  // namespace

std::string completion_text(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") return bash_text(app);
  if (shell == "zsh") return zsh_text(app);
  return fish_text(app);
}

void add_completion(CLI::App& app, const Context& /*context*/, int& /*exit_code*/) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "Print a script that completes commands and options.");
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("");
  command->footer("Example:\n  source <(talaria completion bash)");
  command->callback([shell, &app] { fmt::print("{}", completion_text(app, *shell)); });
}

}  // namespace talaria::coordinator
