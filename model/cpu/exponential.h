// SPDX-License-Identifier: Apache-2.0
// The long loops of drawing a token: the largest of the logits, and their exponentials in f64.
#pragma once

#include <cstdint>

namespace talaria::model::cpu {

// The largest of x[0, count), count > 0. A NaN is passed over or returned.
float highest(const float* x, std::int64_t count);

// weights[i] = e^((x[i] - shift) factor) for arguments <= 0, to 2 ulp; 0 below e^-700; NaN stays
// NaN. Returns their sum: lane l of eight sums i = l, l + 8, ... and lanes 4, 2, 1 apart meet.
// `weights` may be nullptr.
double exp_weights(const float* x, std::int64_t count, double shift, double factor,
                   double* weights);

}  // namespace talaria::model::cpu
