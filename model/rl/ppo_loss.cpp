// SPDX-License-Identifier: Apache-2.0
#include "model/rl/ppo_loss.h"

#include <algorithm>
#include <cmath>

namespace talaria::model {

PolicyTerm policy_term(double logprob, double old_logprob, double advantage, double clip) {
  PolicyTerm term;
  term.ratio = std::exp(logprob - old_logprob);
  // 0 times an infinite ratio would be NaN.
  if (advantage == 0.0 && !std::isnan(term.ratio)) return term;
  const double plain = -advantage * term.ratio;
  const double clipped = -advantage * std::clamp(term.ratio, 1.0 - clip, 1.0 + clip);
  term.clipped = clipped > plain;
  term.loss = term.clipped ? clipped : plain;
  term.d_logprob = term.clipped ? 0.0 : plain;  // d ratio / d logprob = ratio
  return term;
}

ValueTerm value_term(double value, double old_value, double target, double clip) {
  ValueTerm term;
  const double move = value - old_value;
  const double error = value - target;
  // Inside the interval v_clipped is the value itself, which old + (v - old) need not round to.
  const bool outside = std::fabs(move) > clip;
  const double clipped_error = outside ? old_value + std::copysign(clip, move) - target : error;
  term.clipped = clipped_error * clipped_error > error * error;
  const double larger = term.clipped ? clipped_error : error;
  term.loss = 0.5 * larger * larger;
  term.d_value = term.clipped ? 0.0 : error;
  return term;
}

double approximate_kl(double logprob, double old_logprob) {
  const double difference = logprob - old_logprob;
  return 0.5 * difference * difference;
}

}  // namespace talaria::model
