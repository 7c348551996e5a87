// SPDX-License-Identifier: Apache-2.0
#include "worker/validation_reward.h"

#include <algorithm>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "worker/continue_prompts.h"

namespace talaria::worker {
namespace {

// The ids before the conversation's last answer, with which an open prompt of the same turns ends.
std::vector<std::int32_t> last_prompt(const storage::Conversation& conversation) {
  const auto& trained = conversation.trained;
  const auto answer = std::find(trained.rbegin(), trained.rend(), 0).base() - trained.begin();
  return {conversation.ids.begin(), conversation.ids.begin() + answer};
}

}  // namespace

ValidationReward::ValidationReward(const launch::Job& job, const storage::Tokenizer& tokenizer,
                                   const std::vector<storage::Conversation>& conversations,
                                   bool leads)
    : job_(job),
      stop_(storage::end_of_turn(tokenizer, job.data.chat)),
      pad_(tokenizer.end_of_text()),
      vocab_(tokenizer.vocab_size()),
      reward_(job, "reward", job.start.reward, model::HeadKind::kScalar) {
  if (conversations.empty()) {
    fail_usage(
        "start.reward: no line is kept for validation (data.validation = {}), whose prompts are "
        "answered; raise data.validation",
        job.data.validation);
  }
  const std::int64_t room = std::min(job.train.sequence_length, job.model.context);
  std::int64_t skipped = 0;
  for (const storage::Conversation& each : conversations) {
    if (static_cast<std::int64_t>(prompts_.size()) == job.train.eval_samples) break;
    std::vector<std::int32_t> ids = last_prompt(each);
    const std::int64_t length = static_cast<std::int64_t>(ids.size()) + job.ppo.response_tokens;
    if (ids.empty() || length > room) {
      ++skipped;
      continue;
    }
    longest_ = std::max(longest_, length);
    prompts_.push_back({std::move(ids), 0});
  }
  if (prompts_.empty()) {
    fail_usage(
        "start.reward: no validation prompt can be answered ({} leave no room for "
        "ppo.response_tokens = {} in {} tokens); raise data.validation, or lower "
        "ppo.response_tokens",
        skipped, job.ppo.response_tokens, room);
  }
  if (leads) {
    log_info("{} validation prompts for start.reward; skipped {} too long or empty",
             prompts_.size(), skipped);
  }
}

void ValidationReward::open(const TaskResources& resources) { reward_.open(resources); }

double ValidationReward::measure(Engine& policy) {
  Groups& groups = policy.groups();
  model::GenerationOptions options;
  options.sampler.temperature = 0.0;
  options.max_tokens = job_.ppo.response_tokens;
  options.stop_ids = {stop_};
  options.vocab = vocab_;
  std::vector<Episode> answers;
  {
    model::Generator generator(policy.stage(), *groups.tensor, *groups.pipeline,
                               std::min(job_.ppo.slots, static_cast<std::int64_t>(prompts_.size())),
                               longest_);
    answers = continue_prompts(prompts_, options, generator, groups);
  }
  double sum = 0.0;
  for (const double value : last_values(reward_, job_, answers, pad_)) sum += value;
  return sum / static_cast<double>(answers.size());
}

}  // namespace talaria::worker
