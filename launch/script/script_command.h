// SPDX-License-Identifier: Apache-2.0
// `talaria script JOB.toml --mpirun | --slurm`: prints the script to standard output.
#pragma once

#include <string>

namespace talaria::launch {

// `argv` begins with the command's name; `worker` is the absolute path of talaria-worker. Returns
// the exit code; throws UsageError for bad arguments and bad job files.
int script_command(int argc, char** argv, const std::string& worker);

}  // namespace talaria::launch
