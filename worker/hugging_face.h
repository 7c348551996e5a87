// SPDX-License-Identifier: Apache-2.0
// `talaria-worker checkpoint import|export`: a GPT-2 from a folder of Hugging Face, and to one
// (docs/hugging-face.md).
#pragma once

#include <span>

#include "storage/checkpoint/checkpoint_command.h"

namespace talaria::worker {

std::span<const storage::CheckpointVerb> exchange_verbs();

}  // namespace talaria::worker
