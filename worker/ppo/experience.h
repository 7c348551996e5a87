// SPDX-License-Identifier: Apache-2.0
// From episodes with log-probabilities, values and scores to advantages and returns, and the
// numbers of an iteration (docs/metrics.md). Everything is computed from the whole rollout, in
// f64 and in order, on every rank alike. Pure.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/job.h"
#include "worker/episode.h"

namespace talaria::worker {

// What is known of an episode when the updates begin; an element a token of the response, in f64.
struct Experience {
  Episode episode;
  double score = 0.0;  // of the whole response
  // What it is made of, before weights and limits; nothing where the job has no such source.
  std::optional<double> model_score;
  std::optional<double> rule_score;
  std::vector<double> logprobs;   // of the policy that sampled, by the training pass
  std::vector<double> reference;  // of the reference
  std::vector<double> values;     // before the updates
  std::vector<double> advantages;
  std::vector<double> returns;
};

// Fills advantages and returns of all from logprobs, reference, values and score, with `beta` the
// coefficient of the KL penalty.
void estimate(std::vector<Experience>& all, const launch::PpoSection& ppo, double beta);

// Mean over responses of the sum of logprob - reference: what the KL controller steers.
double mean_kl(const std::vector<Experience>& all);

// The metrics "Of the rollout".
std::map<std::string, double> rollout_metrics(const std::vector<Experience>& all, double beta);

// The metrics "Of the updates", minibatch by minibatch.
class UpdateCounter {
 public:
  explicit UpdateCounter(const launch::PpoSection& ppo) : ppo_(ppo) {}

  // rows[r]: the episode of row r of the minibatch, nullptr for one of the mix; nll, entropy:
  // [rows, T] of the policy's pass. Returns the minibatch's mean approximate KL a token.
  double add_policy(const std::vector<const Experience*>& rows, std::span<const float> nll,
                    std::span<const float> entropy, std::size_t length);
  void add_value(const std::vector<const Experience*>& rows, std::span<const float> values,
                 std::size_t length);
  // Its mean loss on the rows of the mix.
  void add_mix(const std::vector<const Experience*>& rows, std::span<const float> nll,
               std::size_t length);
  std::map<std::string, double> metrics() const;

 private:
  launch::PpoSection ppo_;
  double tokens_ = 0.0;
  double value_tokens_ = 0.0;
  double approximate_kl_ = 0.0;
  double policy_clipped_ = 0.0;
  double policy_loss_ = 0.0;
  double entropy_ = 0.0;
  double ratio_ = 0.0;
  double value_loss_ = 0.0;
  double value_clipped_ = 0.0;
  double mix_loss_ = 0.0;
  double mix_tokens_ = 0.0;
  std::vector<double> ratios_;  // the minibatches' means
};

}  // namespace talaria::worker
