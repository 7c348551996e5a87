// SPDX-License-Identifier: Apache-2.0
#include "model/objective.h"

namespace talaria::model {

void CrossEntropyObjective::evaluate(TokenRange range, std::span<const float> nll,
                                     std::span<const float>, std::span<float> losses,
                                     std::span<float> d_nll, std::span<float>) {
  const std::span<const float> weights = weights_.subspan(static_cast<std::size_t>(range.first),
                                                          static_cast<std::size_t>(range.count));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    losses[i] = weights[i] * nll[i];
    d_nll[i] = weights[i] * scale_;
  }
}

}  // namespace talaria::model
