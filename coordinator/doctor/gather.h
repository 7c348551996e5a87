// SPDX-License-Identifier: Apache-2.0
// Finds the facts out: reads the machine, starts the programs, measures the disk. Takes a few
// seconds; nothing is left behind.
#pragma once

#include <string>

#include "coordinator/doctor/facts.h"
#include "launch/attempt/command_line.h"

namespace talaria::doctor {

// What the environment says, read once by the command.
struct Environment {
  std::string path;        // PATH
  std::string home;        // HOME
  std::string state_home;  // XDG_STATE_HOME
  bool root_allowed = false;
};

Facts gather_facts(const launch::Tools& tools, const Environment& environment,
                   const std::string& folder);

// The line of a program's complaints that says most: of Open MPI's boxes the first one's text.
std::string main_complaint(const std::string& output);

}  // namespace talaria::doctor
