// SPDX-License-Identifier: Apache-2.0
// The names of PPO's metrics in metrics.jsonl, those that users of TRL's PPO trainer know and ours.
// docs/metrics.md says what each means. Pure.
#pragma once

#include <array>
#include <string_view>

namespace talaria::worker::metric {

// Of the rollout: before the updates that it leads to.
inline constexpr std::string_view kKl = "objective/kl";
inline constexpr std::string_view kEntropy = "objective/entropy";
inline constexpr std::string_view kNonScoreReward = "objective/non_score_reward";
inline constexpr std::string_view kRlhfReward = "objective/rlhf_reward";
inline constexpr std::string_view kScores = "objective/scores";
inline constexpr std::string_view kModelScores = "objective/model_scores";
inline constexpr std::string_view kRuleScores = "objective/rule_scores";
inline constexpr std::string_view kKlCoefficient = "objective/kl_coefficient";
inline constexpr std::string_view kExplainedVariance = "val/explained_variance";
inline constexpr std::string_view kStopTokens = "val/num_eos_tokens";
inline constexpr std::string_view kResponseLength = "response/length";
inline constexpr std::string_view kStoppedShare = "response/stopped_share";
inline constexpr std::string_view kLogprobDifference = "sampler/logprob_max_difference";

// Of the updates: over the tokens of all minibatches.
inline constexpr std::string_view kApproximateKl = "policy/approxkl_avg";
inline constexpr std::string_view kPolicyClipShare = "policy/clipfrac_avg";
inline constexpr std::string_view kPolicyEntropy = "policy/entropy_avg";
inline constexpr std::string_view kPolicyLoss = "loss/policy_avg";
inline constexpr std::string_view kValueLoss = "loss/value_avg";
inline constexpr std::string_view kValueClipShare = "val/clipfrac_avg";
inline constexpr std::string_view kRatio = "val/ratio";
inline constexpr std::string_view kRatioVariance = "val/ratio_var";
inline constexpr std::string_view kMixLoss = "mix_loss";
inline constexpr std::string_view kLearningRate = "lr";
inline constexpr std::string_view kEpisode = "episode";

// Of the clock: they differ from run to run.
inline constexpr std::string_view kEpisodesPerSecond = "eps";
inline constexpr std::string_view kTokensPerSecond = "rollout/tokens_per_second";
inline constexpr std::string_view kRolloutSeconds = "seconds/rollout";
inline constexpr std::string_view kScoreSeconds = "seconds/score";
inline constexpr std::string_view kUpdateSeconds = "seconds/update";

// All of them, in the order of docs/metrics.md.
inline constexpr std::array kPpoMetrics = {
    kKl,
    kEntropy,
    kNonScoreReward,
    kRlhfReward,
    kScores,
    kModelScores,
    kRuleScores,
    kKlCoefficient,
    kExplainedVariance,
    kStopTokens,
    kResponseLength,
    kStoppedShare,
    kLogprobDifference,
    kApproximateKl,
    kPolicyClipShare,
    kPolicyEntropy,
    kPolicyLoss,
    kValueLoss,
    kValueClipShare,
    kRatio,
    kRatioVariance,
    kMixLoss,
    kLearningRate,
    kEpisode,
    kEpisodesPerSecond,
    kTokensPerSecond,
    kRolloutSeconds,
    kScoreSeconds,
    kUpdateSeconds,
};

}  // namespace talaria::worker::metric
