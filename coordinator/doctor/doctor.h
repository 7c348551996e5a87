// SPDX-License-Identifier: Apache-2.0
// `talaria doctor`: what this machine has, what is missing, and the command that brings it.
#pragma once

#include <string>
#include <vector>

#include "launch/attempt/command_line.h"

namespace talaria::doctor {

// Runs `talaria doctor ARGS` (--json, --help) in the current folder and prints to stdout. Returns 0
// when the quickstart could run, 1 when something stops it (the last line says what), 2 for wrong
// usage.
int doctor_command(const std::vector<std::string>& args, const launch::Tools& tools);

}  // namespace talaria::doctor
