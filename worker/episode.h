// SPDX-License-Identifier: Apache-2.0
// A prompt and the response of a model that is trained: an episode of PPO, or an answer that is
// judged. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "storage/chat/rows.h"

namespace talaria::worker {

struct Episode {
  std::int64_t line = 0;  // of the prompts that were read
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> response;   // 1 or more ids, the stop token included
  std::vector<float> sampler_logprobs;  // of each
  bool stopped = false;                 // by a stop token

  // Where in its row the first token of the response is decided.
  std::size_t first_action() const { return prompt.size() - 1; }
  std::size_t tokens() const { return response.size(); }
};

// The episode as a row: prompt and response, all of their ids being inputs (at most `length`);
// weight 1 where the target is a token of the response.
storage::Row episode_row(const Episode& episode, std::int64_t length, std::int32_t pad);

// Of a row's numbers [T], those at the places where the response's tokens are decided.
std::vector<double> at_actions(const Episode& episode, std::span<const float> row);

}  // namespace talaria::worker
