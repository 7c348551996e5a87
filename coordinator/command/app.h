// SPDX-License-Identifier: Apache-2.0
// The command line of `talaria`: one CLI11 app from which --help and the shells' completion come.
#pragma once

#include <string>
#include <vector>

#include "coordinator/command/context.h"

namespace CLI {
class App;
}

namespace talaria::coordinator {

// Runs what `argv` asks for; returns the exit code. Prints errors itself.
int command_main(int argc, char** argv, const Context& context);

// A command: its options are bound to an object of its own, its callback sets `exit_code`.
// Each is declared in the file named like it.
void add_run(CLI::App& app, const Context& context, int& exit_code);
void add_coordinator(CLI::App& app, const Context& context, int& exit_code);
void add_submit(CLI::App& app, const Context& context, int& exit_code);
void add_ps(CLI::App& app, const Context& context, int& exit_code);
void add_show(CLI::App& app, const Context& context, int& exit_code);
void add_logs(CLI::App& app, const Context& context, int& exit_code);
void add_watch(CLI::App& app, const Context& context, int& exit_code);
void add_cancel(CLI::App& app, const Context& context, int& exit_code);
void add_retry(CLI::App& app, const Context& context, int& exit_code);

void add_completion(CLI::App& app, const Context& context, int& exit_code);

}  // namespace talaria::coordinator
