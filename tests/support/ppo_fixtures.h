// SPDX-License-Identifier: Apache-2.0
// Made-up experience of PPO: episodes whose tokens, log-probabilities and scores are a pure
// function of their number, so that every program that asks gets the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "worker/ppo/experience.h"

namespace talaria::worker {

// A prompt of 2 to 4 ids and a response of 1 to 5, all below `vocab`. Log-probabilities lie around
// -log(vocab), where a new model's are, some so far off that their ratio is clipped.
inline Experience made_up_experience(std::int64_t number, std::int64_t vocab) {
  Experience made;
  Episode& episode = made.episode;
  episode.line = number;
  episode.stopped = number % 2 == 0;
  for (std::int64_t i = 0; i < 2 + number % 3; ++i) {
    episode.prompt.push_back(static_cast<std::int32_t>((number * 31 + i * 17 + 3) % vocab));
  }
  for (std::int64_t i = 0; i < 1 + (number * 3 + 2) % 5; ++i) {
    const double at = static_cast<double>(number * 7 + i);
    episode.response.push_back(static_cast<std::int32_t>((number * 13 + i * 29 + 5) % vocab));
    made.logprobs.push_back(-std::log(static_cast<double>(vocab)) + 0.4 * std::sin(1.7 * at));
    made.reference.push_back(made.logprobs.back() + 0.3 * std::cos(2.3 * at));
    made.values.push_back(0.5 * std::sin(0.9 * at + 1.0));
    episode.sampler_logprobs.push_back(static_cast<float>(made.logprobs.back()));
  }
  made.score = std::cos(1.1 * static_cast<double>(number));
  return made;
}

// `count` of them with advantages and returns.
inline std::vector<Experience> made_up_experiences(std::int64_t count, std::int64_t vocab,
                                                   const launch::PpoSection& ppo, double beta) {
  std::vector<Experience> all;
  for (std::int64_t e = 0; e < count; ++e) all.push_back(made_up_experience(e, vocab));
  estimate(all, ppo, beta);
  return all;
}

}  // namespace talaria::worker
