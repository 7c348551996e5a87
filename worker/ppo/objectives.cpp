// SPDX-License-Identifier: Apache-2.0
#include "worker/ppo/objectives.h"

#include <algorithm>

#include "model/rl/ppo_loss.h"

namespace talaria::worker {

void PolicyObjective::evaluate(model::TokenRange range, std::span<const float> nll,
                               std::span<const float> entropy, std::span<float> losses,
                               std::span<float> d_nll, std::span<float> d_entropy) {
  for (std::size_t i = 0; i < nll.size(); ++i) {
    const std::int64_t at = range.first + static_cast<std::int64_t>(i);
    const Experience* row = rows_[static_cast<std::size_t>(at / length_)];
    losses[i] = 0.0F;
    d_nll[i] = 0.0F;
    if (!d_entropy.empty()) d_entropy[i] = 0.0F;
    if (row == nullptr) {
      losses[i] = static_cast<float>(mix_weight_ * static_cast<double>(nll[i]));
      d_nll[i] = static_cast<float>(mix_weight_ / loss_.divisor);
      continue;
    }
    const std::int64_t token =
        at % length_ - static_cast<std::int64_t>(row->episode.first_action());
    if (token < 0 || token >= static_cast<std::int64_t>(row->episode.tokens())) continue;
    const auto t = static_cast<std::size_t>(token);
    const model::PolicyTerm term = model::policy_term(
        -static_cast<double>(nll[i]), row->logprobs[t], row->advantages[t], loss_.clip);
    double loss = term.loss;
    d_nll[i] = static_cast<float>(-term.d_logprob / loss_.divisor);
    if (uses_entropy()) {
      loss -= loss_.entropy_coefficient * static_cast<double>(entropy[i]);
      d_entropy[i] = static_cast<float>(-loss_.entropy_coefficient / loss_.divisor);
    }
    losses[i] = static_cast<float>(loss);
  }
}

double ValueObjective::evaluate(std::int64_t sample, std::span<const float> values,
                                std::span<float> d_values) {
  std::fill(d_values.begin(), d_values.end(), 0.0F);
  const Experience& row = *rows_[static_cast<std::size_t>(sample)];
  double loss = 0.0;
  for (std::size_t t = 0; t < row.episode.tokens(); ++t) {
    const std::size_t at = row.episode.first_action() + t;
    const model::ValueTerm term =
        model::value_term(static_cast<double>(values[at]), row.values[t], row.returns[t], clip_);
    loss += term.loss;
    d_values[at] = static_cast<float>(term.d_value / divisor_);
  }
  return loss;
}

}  // namespace talaria::worker
