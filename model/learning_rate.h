// SPDX-License-Identifier: Apache-2.0
// The learning rate as a pure function of the step. Pure.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>

namespace talaria::model {

struct LearningRateSchedule {
  double peak = 0.0;
  double minimum = 0.0;
  std::int64_t warmup_steps = 0;
  std::int64_t decay_steps = 0;  // the step at which the minimum is reached; flat afterwards
  std::string decay = "cosine";  // cosine | linear | constant
};

// Step counts from 0. Linear warm-up to the peak over warmup_steps, then the decay (GPT-3: cosine
// to the minimum, Brown et al. 2020, appendix B).
inline double learning_rate(const LearningRateSchedule& s, std::int64_t step) {
  if (step < s.warmup_steps) {
    return s.peak * static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps);
  }
  if (s.decay == "constant") return s.peak;
  const std::int64_t span = std::max<std::int64_t>(1, s.decay_steps - s.warmup_steps);
  const double progress =
      std::min(1.0, static_cast<double>(step - s.warmup_steps) / static_cast<double>(span));
  const double left =
      s.decay == "linear" ? 1.0 - progress : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return s.minimum + (s.peak - s.minimum) * left;
}

}  // namespace talaria::model
