// SPDX-License-Identifier: Apache-2.0
#include "model/rl/kl_controller.h"

#include <algorithm>

namespace talaria::model {

double KlController::next(double beta, double kl, std::int64_t episodes) const {
  if (!adaptive) return beta;
  const double error = std::clamp(kl / target - 1.0, -0.2, 0.2);
  return beta * (1.0 + error * static_cast<double>(episodes) / horizon);
}

}  // namespace talaria::model
