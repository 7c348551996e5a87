// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, said the same way.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "coordinator/command/prepare.h"

namespace talaria::coordinator {

inline void add_state_option(CLI::App& command, std::string& state_directory) {
  command
      .add_option("--state-dir", state_directory,
                  "the coordinator's state; default: that of the daemon")
      ->type_name("DIR");
}

inline void add_job_source(CLI::App& command, JobSource& source) {
  command.add_option("JOB.toml", source.file, "the job file")->required()->type_name("");
  command.add_option("--set", source.overrides, "table.key=value, in place of what the file says")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command.add_option("--run-dir", source.run_directory, "default: runs/<job.name>")
      ->type_name("DIR");
}

inline void add_job_word(CLI::App& command, std::string& word) {
  command.add_option("JOB", word, "an id, a name or a run directory")->required()->type_name("");
}

inline void add_json_flag(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print JSON");
}

inline void add_tool_options(CLI::App& command, launch::Tools& tools) {
  command.add_option("--worker", tools.worker, "path of talaria-worker")->type_name("PATH");
  command.add_option("--launch", tools.launch, "path of talaria-launch")->type_name("PATH");
  command.add_option("--mpirun", tools.mpirun, "the program that starts ranks")->type_name("PATH");
}

inline void add_advertise_option(CLI::App& command, std::string& name) {
  command
      .add_option("--advertise", name,
                  "host name or address under which ranks of other nodes reach this coordinator; "
                  "default: the host's name")
      ->type_name("NAME");
}

inline void example(CLI::App& command, const std::string& text, const std::string& notes = "") {
  command.footer((notes.empty() ? "" : notes + "\n\n") + "Example:\n  " + text);
}

}  // namespace talaria::coordinator
