// SPDX-License-Identifier: Apache-2.0
// `talaria-worker generate`: continues prompts with a checkpoint, on one process or over the ranks
// of mpirun.
#pragma once

namespace talaria::worker {

// argv[0] is the name shown in messages. `under_mpirun`: this is one of several ranks, or may be.
// Returns the exit code; throws UsageError and Error.
int generate_command(int argc, char** argv, bool under_mpirun);

}  // namespace talaria::worker
