// SPDX-License-Identifier: Apache-2.0
// Central differences in double: the test of every backward operation of ref/.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace talaria::model::test {

// Expects analytic[i] = d loss / d x[i] for every `stride`-th element of x. loss() reads x.
inline void expect_gradient(const std::string& what, std::vector<double>& x,
                            const std::vector<double>& analytic,
                            const std::function<double()>& loss, std::size_t stride = 1,
                            double relative = 1e-7) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(x.size(), analytic.size()) << what;
  for (std::size_t i = 0; i < x.size(); i += stride) {
    const double before = x[i];
    x[i] = before + kStep;
    const double above = loss();
    x[i] = before - kStep;
    const double below = loss();
    x[i] = before;
    const double numeric = (above - below) / (2.0 * kStep);
    // Rounding of the loss, some units of 2^-53, comes back divided by the step.
    const double noise = 5e-10 * std::max(1.0, std::abs(above));
    EXPECT_NEAR(numeric, analytic[i], noise + relative * std::abs(analytic[i]))
        << what << "[" << i << "]";
  }
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace talaria::model::test
