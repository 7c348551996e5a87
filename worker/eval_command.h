// SPDX-License-Identifier: Apache-2.0
// `talaria-worker eval`: measures checkpoints. The command line is here, each task in worker/eval/.
#pragma once

namespace talaria::worker {

// argv[0] is the name shown in messages. `under_mpirun`: this is one of several ranks, or may be.
// Returns the exit code; throws UsageError and Error.
int eval_command(int argc, char** argv, bool under_mpirun);

}  // namespace talaria::worker
