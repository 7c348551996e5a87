// SPDX-License-Identifier: Apache-2.0
// `talaria-worker generate`: continues a prompt with a checkpoint, on one process.
#pragma once

namespace talaria::worker {

// argv[0] is the name shown in messages. Returns the exit code; throws UsageError and Error.
int generate_command(int argc, char** argv);

}  // namespace talaria::worker
