// SPDX-License-Identifier: Apache-2.0
#include "worker/ppo/rollout.h"

#include <algorithm>
#include <utility>

#include "cluster/base/error.h"
#include "storage/text/permutation.h"
#include "worker/chat_data.h"
#include "worker/continue_prompts.h"

namespace talaria::worker {

Rollout::Rollout(const launch::Job& job, const storage::Tokenizer& tokenizer, bool leads)
    : job_(job), tokenizer_(tokenizer), stop_(storage::end_of_turn(tokenizer, job.data.chat)) {
  storage::ChatCounts counts;
  const std::int64_t longest = job.train.sequence_length - job.ppo.response_tokens;
  auto split =
      split_units(storage::read_prompts({job.data.files.begin(), job.data.files.end()}, tokenizer,
                                        chat_options(job, longest, leads), counts),
                  job.data.validation);
  training_ = std::move(split.training);
  validation_ = std::move(split.validation);
  if (leads) tell_counts(counts, "prompts", training_.size(), validation_.size());
  if (training_.empty()) {
    fail_usage(
        "data.files: no prompt is left for training; lower data.validation or "
        "ppo.response_tokens, or bring more of them");
  }
  check_selectable(job, validation_.size());
}

std::vector<Episode> Rollout::generate(const std::vector<storage::PromptLine>& lines,
                                       const std::vector<std::int64_t>& wanted,
                                       std::uint64_t first_key,
                                       const model::GenerationOptions& options,
                                       model::Generator& generator, Groups& groups) const {
  std::vector<model::Prompt> prompts;
  prompts.reserve(wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    prompts.push_back({lines[static_cast<std::size_t>(wanted[i])].ids, first_key + i});
  }
  std::vector<Episode> episodes = continue_prompts(prompts, options, generator, groups);
  for (std::size_t e = 0; e < episodes.size(); ++e) episodes[e].line = wanted[e];
  return episodes;
}

std::vector<Episode> Rollout::sample(std::int64_t iteration, model::Generator& generator,
                                     Groups& groups) const {
  model::GenerationOptions options;
  options.sampler = {job_.ppo.temperature, job_.ppo.top_k, job_.ppo.top_p, job_.job.seed};
  options.max_tokens = job_.ppo.response_tokens;
  options.stop_ids = {stop_};
  options.vocab = tokenizer_.vocab_size();
  const std::int64_t first = iteration * job_.ppo.rollout_batch;
  const auto lines = static_cast<std::int64_t>(training_.size());
  std::vector<std::int64_t> wanted;
  for (std::int64_t e = first; e < first + job_.ppo.rollout_batch; ++e) {
    const std::uint64_t key =
        storage::mix_keys(job_.job.seed, static_cast<std::uint64_t>(e / lines));
    wanted.push_back(storage::Permutation(lines, key)(e % lines));
  }
  return generate(training_, wanted, static_cast<std::uint64_t>(first), options, generator, groups);
}

std::vector<Episode> Rollout::answer(std::int64_t count, model::Generator& generator,
                                     Groups& groups) const {
  model::GenerationOptions options;
  options.sampler.temperature = 0.0;
  options.max_tokens = job_.ppo.response_tokens;
  options.stop_ids = {stop_};
  options.vocab = tokenizer_.vocab_size();
  const std::vector<storage::PromptLine>& lines = validation_.empty() ? training_ : validation_;
  std::vector<std::int64_t> wanted(std::min(static_cast<std::size_t>(count), lines.size()));
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = static_cast<std::int64_t>(i);
  return generate(lines, wanted, 0, options, generator, groups);
}

const storage::PromptLine& Rollout::prompt_of(const Episode& episode, bool training) const {
  const auto& lines = training || validation_.empty() ? training_ : validation_;
  return lines[static_cast<std::size_t>(episode.line)];
}

std::string Rollout::words(const Episode& episode) const {
  std::vector<std::int32_t> ids = episode.response;
  if (episode.stopped) ids.pop_back();
  return std::string(storage::answer_content(job_.data.chat, tokenizer_.decode(ids)));
}

}  // namespace talaria::worker
