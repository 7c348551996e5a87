// SPDX-License-Identifier: Apache-2.0
// Prompts into episodes: which prompts an iteration takes, and the policy's responses to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/job.h"
#include "model/generator.h"
#include "storage/chat/chat_file.h"
#include "storage/text/tokenizer.h"
#include "worker/engine.h"
#include "worker/episode.h"

namespace talaria::worker {

class Rollout {
 public:
  // Reads data.files; the rank that `leads` says what it found. Throws UsageError.
  Rollout(const launch::Job& job, const storage::Tokenizer& tokenizer, bool leads);

  const std::vector<storage::PromptLine>& training() const { return training_; }
  const std::vector<storage::PromptLine>& validation() const { return validation_; }
  std::int32_t pad() const { return tokenizer_.end_of_text(); }

  // The rollout_batch episodes of an iteration (from 0), the same on all ranks: prompts in a seeded
  // permutation of each epoch; every data rank samples its part. Collective over world.
  std::vector<Episode> sample(std::int64_t iteration, model::Generator& generator,
                              Groups& groups) const;
  // The likeliest responses to the first `count` validation prompts, or, where there are none, to
  // the first training prompts. Collective over world.
  std::vector<Episode> answer(std::int64_t count, model::Generator& generator,
                              Groups& groups) const;

  // The prompt of an episode.
  const storage::PromptLine& prompt_of(const Episode& episode, bool training) const;
  // The words of a response: without its stop token and without what the template puts in front.
  std::string words(const Episode& episode) const;

 private:
  std::vector<Episode> generate(const std::vector<storage::PromptLine>& lines,
                                const std::vector<std::int64_t>& wanted, std::uint64_t first_key,
                                const model::GenerationOptions& options,
                                model::Generator& generator, Groups& groups) const;

  launch::Job job_;
  storage::Tokenizer tokenizer_;
  std::int32_t stop_;
  std::vector<storage::PromptLine> training_;
  std::vector<storage::PromptLine> validation_;
};

}  // namespace talaria::worker
