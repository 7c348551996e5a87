// SPDX-License-Identifier: Apache-2.0
// The products inside attention, too small for a library call: register tiles over operands that
// the caller has laid out in scratch memory. Every element of c is one FMA chain over ascending
// depth, so its bits do not depend on tiles or strides.
#pragma once

#include <cstdint>

namespace talaria::model::cpu {

// c[m,n] = (or += with `accumulate`) sum over k of a(m,k) b[k,n];  a(m,k) = a[m a_row + k
// a_column]. columns is a multiple of 16; b and c rows are contiguous.
struct SmallProduct {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  const float* a = nullptr;
  std::int64_t a_row = 0;
  std::int64_t a_column = 1;
  const float* b = nullptr;
  std::int64_t b_row = 0;
  float* c = nullptr;
  std::int64_t c_row = 0;
  bool accumulate = false;
};

void multiply_small(const SmallProduct& product);

}  // namespace talaria::model::cpu
