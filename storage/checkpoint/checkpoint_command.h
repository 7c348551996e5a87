// SPDX-License-Identifier: Apache-2.0
// `talaria-worker checkpoint list|show|verify`.
#pragma once

namespace talaria::storage {

// argv[0] is "checkpoint". Results go to stdout. Returns kExitDone, kExitFailed for damage and for
// a failure (said on stderr), kExitUsage for wrong usage.
int checkpoint_command(int argc, char** argv);

}  // namespace talaria::storage
