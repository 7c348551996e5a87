// SPDX-License-Identifier: Apache-2.0
// The clipped losses of PPO for one token (Schulman et al. 2017, arXiv:1707.06347, eq. 7; the value
// loss as in Ziegler et al.'s train_policy.py). All in f64. Pure.
#pragma once

namespace talaria::model {

struct PolicyTerm {
  double loss = 0.0;       // max(-A r, -A clip(r, 1 - c, 1 + c)), r = exp(logprob - old_logprob)
  double d_logprob = 0.0;  // its derivative
  double ratio = 1.0;
  bool clipped = false;  // the clipped term is the larger
};
PolicyTerm policy_term(double logprob, double old_logprob, double advantage, double clip);

struct ValueTerm {
  // 0.5 max((v - R)^2, (v_clipped - R)^2), v_clipped = old + clip(v - old, -c, c)
  double loss = 0.0;
  double d_value = 0.0;
  bool clipped = false;
};
ValueTerm value_term(double value, double old_value, double target, double clip);

// Schulman's estimator of KL(old || new) from samples of old: 0.5 (logprob - old)^2.
double approximate_kl(double logprob, double old_logprob);

}  // namespace talaria::model
