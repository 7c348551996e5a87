// SPDX-License-Identifier: Apache-2.0
#include "worker/ppo/scorer.h"

#include <algorithm>
#include <cmath>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "worker/chat_data.h"
#include "worker/exchange.h"

namespace talaria::worker {

namespace {

// A prompt in a complaint: its end, which tells it from others.
std::string shown(const storage::PromptLine& line) {
  constexpr std::size_t kMost = 60;
  std::size_t from = line.text.size() > kMost ? line.text.size() - kMost : 0;
  // Not in the middle of a character.
  while (from < line.text.size() &&
         (static_cast<unsigned char>(line.text[from]) & 0xC0U) == 0x80U) {
    ++from;
  }
  return in_quotes(line.text.substr(from));
}

}  // namespace

Scorer::Scorer(const launch::Job& job, const Rollout& rollout) : job_(job), rollout_(rollout) {
  if (!job.start.reward.empty()) {
    model_ =
        std::make_unique<FrozenModel>(job, "reward", job.start.reward, model::HeadKind::kScalar);
  }
  if (job.rewards.rule == "none") return;
  RewardRule rule;
  rule.kind = job.rewards.rule;
  rule.pattern = job.rewards.pattern;
  rule.of = job.rewards.of;
  rule.group = job.rewards.compare == "no" ? "" : job.rewards.compare;
  rule.count = job.rewards.count;
  rule_.emplace(rule, "rewards");
  for (const auto* lines : {&rollout.training(), &rollout.validation()}) {
    for (const storage::PromptLine& line : *lines) rule_->check(line.answer, line.place);
  }
}

void Scorer::open(const TaskResources& resources) {
  if (model_ != nullptr) model_->open(resources);
}

double Scorer::combine(const Episode& episode, double model, double rule) const {
  const launch::RewardsSection& rewards = job_.rewards;
  if (!episode.stopped && !rewards.score_unfinished) return rewards.unfinished_score;
  const double score = rewards.model * model + rewards.rule_weight * rule;
  return rewards.clip > 0.0 ? std::clamp(score, -rewards.clip, rewards.clip) : score;
}

Scorer::Scores Scorer::score(const std::vector<Episode>& episodes, bool training, Groups& groups) {
  Scores scores;
  if (model_ != nullptr) scores.model = last_values(*model_, job_, episodes, rollout_.pad());
  agree_or_throw(*groups.world, [&] {
    for (std::size_t e = 0; e < episodes.size(); ++e) {
      const Episode& episode = episodes[e];
      const storage::PromptLine& prompt = rollout_.prompt_of(episode, training);
      if (rule_) scores.rule.push_back(rule_->score(rollout_.words(episode), prompt.answer));
      const double model = model_ == nullptr ? 0.0 : scores.model[e];
      const double rule = rule_ ? scores.rule[e] : 0.0;
      const double total = combine(episode, model, rule);
      // Before a limit or another score for an unfinished response hides it.
      if (!std::isfinite(model + rule + total)) {
        fail(
            "the score of a response to {} is {}; look at the reward model (start.reward), whose "
            "weights may hold numbers that are not finite",
            shown(prompt), model + rule + total);
      }
      scores.total.push_back(total);
    }
  });
  return scores;
}

}  // namespace talaria::worker
