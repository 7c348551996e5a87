// SPDX-License-Identifier: Apache-2.0
// From rewards and values of responses to advantages and returns. All in f64, in a fixed order.
// Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace talaria::model {

// Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16) of one
// response:
//   delta_t = reward_t + gamma value_{t+1} - value_t, value behind the last 0
//   advantage_t = delta_t + gamma lambda advantage_{t+1};  return_t = advantage_t + value_t
// All spans have the response's length, which may be 0.
void estimate_advantages(std::span<const double> rewards, std::span<const double> values,
                         double gamma, double lambda, std::span<double> advantages,
                         std::span<double> returns);

// x <- (x - mean) / sqrt(variance + 1e-8) [+ mean where !shift_mean], the variance being that of
// the whole population (Ziegler et al. 2019, `utils/core.py` of lm-human-preferences). Sums run in
// order. One element or none is left as it is.
void whiten(std::span<double> x, bool shift_mean);

// reward_t = -beta kl_t, and the score added at the last token.   kl_t = logprob_t - reference_t
// (Ziegler et al. 2019, eq. 2). A response has at least one token.
void penalised_rewards(std::span<const double> logprobs, std::span<const double> reference,
                       double beta, double score, std::span<double> rewards);

// 1 - var(returns - values) / var(returns); variances as in whiten(). NaN where
// returns do not vary (exactly) and where there are none.
double explained_variance(std::span<const double> values, std::span<const double> returns);

}  // namespace talaria::model
