// SPDX-License-Identifier: Apache-2.0
#include "worker/ppo/experience.h"

#include <algorithm>
#include <cmath>

#include "model/rl/advantages.h"
#include "model/rl/ppo_loss.h"
#include "worker/rl_metrics.h"

namespace talaria::worker {
namespace {

using Member = std::vector<double> Experience::*;

// The tokens of all episodes, laid end to end.
std::vector<double> joined(const std::vector<Experience>& all, Member member) {
  std::vector<double> flat;
  for (const Experience& each : all) {
    flat.insert(flat.end(), (each.*member).begin(), (each.*member).end());
  }
  return flat;
}

void whiten_all(std::vector<Experience>& all, Member member, bool shift_mean) {
  std::vector<double> flat = joined(all, member);
  model::whiten(flat, shift_mean);
  auto from = flat.begin();
  for (Experience& each : all) {
    const auto count = static_cast<std::ptrdiff_t>((each.*member).size());
    std::copy(from, from + count, (each.*member).begin());
    from += count;
  }
}

double sum_of(const std::vector<double>& numbers) {
  double sum = 0.0;
  for (const double number : numbers) sum += number;
  return sum;
}

// Mean over responses of a number that all of them have, or none.
std::optional<double> mean_of(const std::vector<Experience>& all,
                              std::optional<double> Experience::*member) {
  double sum = 0.0;
  for (const Experience& each : all) {
    if (!(each.*member)) return std::nullopt;
    sum += *(each.*member);
  }
  return sum / static_cast<double>(all.size());
}

double sum_of_kl(const Experience& each) { return sum_of(each.logprobs) - sum_of(each.reference); }

}  // namespace

void estimate(std::vector<Experience>& all, const launch::PpoSection& ppo, double beta) {
  // The rewards lie in `advantages` until those are known.
  for (Experience& each : all) {
    each.advantages.resize(each.episode.tokens());
    each.returns.resize(each.episode.tokens());
    model::penalised_rewards(each.logprobs, each.reference, beta, each.score, each.advantages);
  }
  if (ppo.whiten_rewards) whiten_all(all, &Experience::advantages, false);
  for (Experience& each : all) {
    const std::vector<double> rewards = each.advantages;
    model::estimate_advantages(rewards, each.values, ppo.gamma, ppo.lambda, each.advantages,
                               each.returns);
  }
  if (ppo.whiten_advantages) whiten_all(all, &Experience::advantages, true);
}

double mean_kl(const std::vector<Experience>& all) {
  double sum = 0.0;
  for (const Experience& each : all) sum += sum_of_kl(each);
  return sum / static_cast<double>(all.size());
}

std::map<std::string, double> rollout_metrics(const std::vector<Experience>& all, double beta) {
  double entropy = 0.0;
  double scores = 0.0;
  double tokens = 0.0;
  double stopped = 0.0;
  double difference = 0.0;
  for (const Experience& each : all) {
    entropy -= sum_of(each.logprobs);
    scores += each.score;
    tokens += static_cast<double>(each.episode.tokens());
    stopped += each.episode.stopped ? 1.0 : 0.0;
    for (std::size_t t = 0; t < each.logprobs.size(); ++t) {
      difference = std::max(
          difference,
          std::abs(each.logprobs[t] - static_cast<double>(each.episode.sampler_logprobs[t])));
    }
  }
  const auto episodes = static_cast<double>(all.size());
  const double kl = mean_kl(all);
  std::map<std::string, double> metrics;
  const auto set = [&](std::string_view name, double value) { metrics[std::string(name)] = value; };
  set(metric::kKl, kl);
  set(metric::kEntropy, entropy / episodes);
  set(metric::kNonScoreReward, -beta * kl);
  set(metric::kScores, scores / episodes);
  set(metric::kRlhfReward, scores / episodes - beta * kl);
  if (const auto model = mean_of(all, &Experience::model_score)) set(metric::kModelScores, *model);
  if (const auto rule = mean_of(all, &Experience::rule_score)) set(metric::kRuleScores, *rule);
  set(metric::kKlCoefficient, beta);
  set(metric::kExplainedVariance, model::explained_variance(joined(all, &Experience::values),
                                                            joined(all, &Experience::returns)));
  set(metric::kStopTokens, stopped);
  set(metric::kStoppedShare, stopped / episodes);
  set(metric::kResponseLength, tokens / episodes);
  set(metric::kLogprobDifference, difference);
  return metrics;
}

double UpdateCounter::add_policy(const std::vector<const Experience*>& rows,
                                 std::span<const float> nll, std::span<const float> entropy,
                                 std::size_t length) {
  double tokens = 0.0;
  double kl = 0.0;
  double ratios = 0.0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r] == nullptr) continue;
    const Experience& row = *rows[r];
    for (std::size_t t = 0; t < row.episode.tokens(); ++t) {
      const std::size_t at = r * length + row.episode.first_action() + t;
      const double logprob = -static_cast<double>(nll[at]);
      const model::PolicyTerm term =
          model::policy_term(logprob, row.logprobs[t], row.advantages[t], ppo_.clip);
      tokens += 1.0;
      kl += model::approximate_kl(logprob, row.logprobs[t]);
      ratios += term.ratio;
      policy_loss_ += term.loss;
      policy_clipped_ += term.clipped ? 1.0 : 0.0;
      entropy_ += static_cast<double>(entropy[at]);
    }
  }
  tokens_ += tokens;
  approximate_kl_ += kl;
  ratio_ += ratios;
  ratios_.push_back(ratios / tokens);
  return kl / tokens;
}

void UpdateCounter::add_value(const std::vector<const Experience*>& rows,
                              std::span<const float> values, std::size_t length) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Experience& row = *rows[r];
    for (std::size_t t = 0; t < row.episode.tokens(); ++t) {
      const std::size_t at = r * length + row.episode.first_action() + t;
      const model::ValueTerm term = model::value_term(
          static_cast<double>(values[at]), row.values[t], row.returns[t], ppo_.value_clip);
      value_tokens_ += 1.0;
      value_loss_ += term.loss;
      value_clipped_ += term.clipped ? 1.0 : 0.0;
    }
  }
}

void UpdateCounter::add_mix(const std::vector<const Experience*>& rows, std::span<const float> nll,
                            std::size_t length) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r] != nullptr) continue;
    for (const float each : nll.subspan(r * length, length)) mix_loss_ += static_cast<double>(each);
    mix_tokens_ += static_cast<double>(length);
  }
}

std::map<std::string, double> UpdateCounter::metrics() const {
  double mean = 0.0;
  for (const double ratio : ratios_) mean += ratio / static_cast<double>(ratios_.size());
  double variance = 0.0;
  for (const double ratio : ratios_) {
    variance += (ratio - mean) * (ratio - mean) / static_cast<double>(ratios_.size());
  }
  std::map<std::string, double> metrics;
  const auto set = [&](std::string_view name, double value) { metrics[std::string(name)] = value; };
  set(metric::kApproximateKl, approximate_kl_ / tokens_);
  set(metric::kPolicyClipShare, policy_clipped_ / tokens_);
  set(metric::kPolicyEntropy, entropy_ / tokens_);
  set(metric::kPolicyLoss, policy_loss_ / tokens_);
  set(metric::kValueLoss, value_loss_ / value_tokens_);
  set(metric::kValueClipShare, value_clipped_ / value_tokens_);
  set(metric::kRatio, ratio_ / tokens_);
  set(metric::kRatioVariance, variance);
  if (mix_tokens_ > 0.0) set(metric::kMixLoss, mix_loss_ / mix_tokens_);
  return metrics;
}

}  // namespace talaria::worker
