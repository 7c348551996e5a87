// SPDX-License-Identifier: Apache-2.0
// The coefficient of the KL penalty, fixed or adaptive. Pure.
#pragma once

#include <cstdint>

namespace talaria::model {

// Ziegler et al. 2019 (arXiv:1909.08593), section 2.2: after n episodes with mean KL `kl`
//   e = clip(kl / target - 1, -0.2, 0.2);  beta <- beta (1 + e n / horizon)
struct KlController {
  bool adaptive = false;
  double target = 6.0;       // nats a response
  double horizon = 10000.0;  // episodes
  // Returns the coefficient that follows `beta`; beta itself where not adaptive. It stays positive
  // while episodes < 5 horizon. An infinite kl is clipped, NaN gives NaN.
  double next(double beta, double kl, std::int64_t episodes) const;
};

}  // namespace talaria::model
