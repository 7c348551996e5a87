// SPDX-License-Identifier: Apache-2.0
// `talaria-worker checkpoint list|show|verify`, and the verbs that need more than storage.
#pragma once

#include <span>

namespace talaria::storage {

// A verb that another folder runs: `run` gets argv from the verb on.
struct CheckpointVerb {
  const char* name;
  const char* description;
  int (*run)(int argc, char** argv);
};

// argv[0] is "checkpoint". Results go to stdout. Returns kExitDone, kExitFailed for damage and for
// a failure (said on stderr), kExitUsage for wrong usage.
int checkpoint_command(int argc, char** argv, std::span<const CheckpointVerb> more = {});

}  // namespace talaria::storage
