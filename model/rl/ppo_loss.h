// SPDX-License-Identifier: Apache-2.0
// The clipped losses of PPO for one token (Schulman et al. 2017, arXiv:1707.06347, eq. 7; the value
// loss as in Ziegler et al.'s train_policy.py). All in f64. Pure.
#pragma once

namespace talaria::model {

// The ratio of a difference above 709 is infinity, never NaN; so is then the loss where the
// advantage is negative, and 0 where it is 0. NaN comes only from NaN or from two infinities.
struct PolicyTerm {
  double loss = 0.0;  // max(-A r, -A clip(r, 1 - c, 1 + c)), r = exp(logprob - old_logprob)
  // Its derivative: -A r, and 0 where clipped. At a tie, which is inside the interval and on its
  // ends, that of the unclipped term.
  double d_logprob = 0.0;
  double ratio = 1.0;
  bool clipped = false;  // the clipped term is strictly the larger
};
// clip >= 0.
PolicyTerm policy_term(double logprob, double old_logprob, double advantage, double clip);

struct ValueTerm {
  // 0.5 max((v - R)^2, (v_clipped - R)^2), v_clipped = old + clip(v - old, -c, c)
  double loss = 0.0;
  // Its derivative: v - R, and 0 where clipped. At a tie that of the unclipped term (also where
  // both errors are equal and opposite).
  double d_value = 0.0;
  bool clipped = false;  // the clipped term is strictly the larger
};
// clip >= 0; infinity never clips.
ValueTerm value_term(double value, double old_value, double target, double clip);

// Schulman's estimator of KL(old || new) from samples of old: 0.5 (logprob - old)^2, in nats.
double approximate_kl(double logprob, double old_logprob);

}  // namespace talaria::model
