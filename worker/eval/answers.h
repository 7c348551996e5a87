// SPDX-License-Identifier: Apache-2.0
// Many prompts answered by a model, for the tasks of `talaria eval` that generate.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/generator.h"
#include "worker/inference_model.h"

namespace talaria::worker {

struct AnswerOptions {
  model::SamplerOptions sampler = {.temperature = 0.0};
  std::int64_t tokens = 64;            // of an answer, at most
  std::int64_t slots = 8;              // answered at once; changes nothing
  std::vector<std::int32_t> stop_ids;  // end an answer
};

struct Answer {
  std::vector<std::int32_t> ids;  // the one that stopped it included
  std::string text;               // valid UTF-8, without what stopped it
  bool stopped = false;           // by a stop token, not by a limit
};

// Answer i is that to prompt i, with the random numbers of key i. Each prompt has 1 to context - 1
// ids. Collective over world.
std::vector<Answer> answer_all(InferenceModel& model,
                               const std::vector<std::vector<std::int32_t>>& prompts,
                               const AnswerOptions& options);

}  // namespace talaria::worker
