// SPDX-License-Identifier: Apache-2.0
#include "model/rl/pairwise.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "cluster/base/error.h"

namespace talaria::model {
namespace {

struct PairTerm {
  double loss = 0.0;      // -log sigmoid(margin) = softplus(-margin)
  double d_margin = 0.0;  // -sigmoid(-margin)
};

// exp only ever sees what is not positive, so nothing overflows.
PairTerm pair_term(double margin) {
  const double small = std::exp(-std::fabs(margin));
  const double d_margin = -(margin > 0.0 ? small : 1.0) / (1.0 + small);
  return {std::max(-margin, 0.0) + std::log1p(small), d_margin};
}

}  // namespace

PairwiseResult pairwise_loss(std::span<const double> rewards, std::span<const std::int32_t> ranks,
                             std::span<double> d_rewards) {
  const std::size_t answers = rewards.size();
  TALARIA_CHECK(ranks.size() == answers && d_rewards.size() == answers, "{} rewards, {} ranks, {}",
                answers, ranks.size(), d_rewards.size());
  PairwiseResult result;
  std::fill(d_rewards.begin(), d_rewards.end(), 0.0);
  for (std::size_t i = 0; i < answers; ++i) {
    for (std::size_t j = i + 1; j < answers; ++j) {
      if (ranks[i] == ranks[j]) continue;
      const std::size_t better = ranks[i] < ranks[j] ? i : j;
      const std::size_t worse = better == i ? j : i;
      const double margin = rewards[better] - rewards[worse];
      const PairTerm term = pair_term(margin);
      result.loss += term.loss;
      result.margin += margin;
      ++result.pairs;
      if (margin > 0.0) ++result.correct;
      d_rewards[better] += term.d_margin;
      d_rewards[worse] -= term.d_margin;
    }
  }
  if (result.pairs == 0) return result;
  const auto pairs = static_cast<double>(result.pairs);
  result.loss /= pairs;
  result.margin /= pairs;
  for (double& d : d_rewards) d /= pairs;
  return result;
}

}  // namespace talaria::model
