// SPDX-License-Identifier: Apache-2.0
#include "model/rl/advantages.h"

#include <cmath>
#include <cstddef>
#include <limits>

#include "cluster/base/error.h"

namespace talaria::model {
namespace {

struct Moments {
  double mean = 0.0;
  double variance = 0.0;  // of the whole population
};

// Moments of value(0), ..., value(count - 1). Differences from the first value are summed, so that
// equal values have exactly themselves as mean and the variance 0.
template <class Value>
Moments moments(std::size_t count, const Value& value) {
  const auto n = static_cast<double>(count);
  const double first = value(0);
  double sum = 0.0;
  for (std::size_t i = 0; i < count; ++i) sum += value(i) - first;
  const double mean = first + sum / n;
  double squares = 0.0;
  for (std::size_t i = 0; i < count; ++i) squares += (value(i) - mean) * (value(i) - mean);
  return {mean, squares / n};
}

}  // namespace

void estimate_advantages(std::span<const double> rewards, std::span<const double> values,
                         double gamma, double lambda, std::span<double> advantages,
                         std::span<double> returns) {
  const std::size_t tokens = rewards.size();
  TALARIA_CHECK(values.size() == tokens && advantages.size() == tokens && returns.size() == tokens,
                "{} rewards, {} values, {} advantages, {} returns", tokens, values.size(),
                advantages.size(), returns.size());
  double next_value = 0.0;
  double next_advantage = 0.0;
  for (std::size_t t = tokens; t-- > 0;) {
    const double value = values[t];
    const double delta = rewards[t] + gamma * next_value - value;
    next_advantage = delta + gamma * lambda * next_advantage;
    advantages[t] = next_advantage;
    returns[t] = next_advantage + value;
    next_value = value;
  }
}

void whiten(std::span<double> x, bool shift_mean) {
  if (x.size() < 2) return;
  const Moments m = moments(x.size(), [&](std::size_t i) { return x[i]; });
  const double deviation = std::sqrt(m.variance + 1e-8);
  for (double& element : x) element = (element - m.mean) / deviation + (shift_mean ? 0.0 : m.mean);
}

void penalised_rewards(std::span<const double> logprobs, std::span<const double> reference,
                       double beta, double score, std::span<double> rewards) {
  const std::size_t tokens = logprobs.size();
  TALARIA_CHECK(tokens > 0 && reference.size() == tokens && rewards.size() == tokens,
                "{} log-probabilities, {} of the reference, {} rewards", tokens, reference.size(),
                rewards.size());
  for (std::size_t t = 0; t < tokens; ++t) rewards[t] = -beta * (logprobs[t] - reference[t]);
  rewards[tokens - 1] += score;
}

double explained_variance(std::span<const double> values, std::span<const double> returns) {
  TALARIA_CHECK(values.size() == returns.size(), "{} values, {} returns", values.size(),
                returns.size());
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  if (returns.empty()) return unknown;
  const Moments target = moments(returns.size(), [&](std::size_t i) { return returns[i]; });
  if (target.variance == 0.0) return unknown;
  const Moments error =
      moments(returns.size(), [&](std::size_t i) { return returns[i] - values[i]; });
  return 1.0 - error.variance / target.variance;
}

}  // namespace talaria::model
