// SPDX-License-Identifier: Apache-2.0
// Responses to prompts by a model that is trained, shared out over the data ranks.
#pragma once

#include <span>
#include <vector>

#include "model/generator.h"
#include "worker/engine.h"
#include "worker/episode.h"

namespace talaria::worker {

// Element i continues prompt i, its `line` is i. All ranks bring the same prompts and get the same
// episodes; each data rank generates for its part. Collective over world.
std::vector<Episode> continue_prompts(std::span<const model::Prompt> prompts,
                                      const model::GenerationOptions& options,
                                      model::Generator& generator, Groups& groups);

}  // namespace talaria::worker
