// SPDX-License-Identifier: Apache-2.0
// The loss of a reward model over the ranked answers of one prompt (Ouyang et al. 2022,
// arXiv:2203.02155, eq. 1). Pure.
#pragma once

#include <cstdint>
#include <span>

namespace talaria::model {

struct PairwiseResult {
  double loss = 0.0;         // mean over the pairs of -log sigmoid(better - worse); 0 without pairs
  std::int64_t pairs = 0;    // of different ranks; ties are dropped
  std::int64_t correct = 0;  // pairs with better > worse
  double margin = 0.0;       // mean of better - worse
};

// rewards[k], ranks[k] (the lowest is best): all C(K, 2) pairs of different ranks. Writes
// d_rewards[k] = d loss / d reward k (in f64). Pairs are added in the order (0, 1), (0, 2), ...,
// (1, 2), ... Finite for all finite differences; NaN only from NaN or from two infinities.
PairwiseResult pairwise_loss(std::span<const double> rewards, std::span<const std::int32_t> ranks,
                             std::span<double> d_rewards);

}  // namespace talaria::model
