// SPDX-License-Identifier: Apache-2.0
// The command lines of `talaria-worker checkpoint import|export`.
#pragma once

#include <span>

#include "storage/checkpoint/checkpoint_command.h"

namespace talaria::worker {

std::span<const storage::CheckpointVerb> exchange_verbs();

}  // namespace talaria::worker
