// SPDX-License-Identifier: Apache-2.0
// One matrix product by oneDNN. A call's bits are a function of its shape, strides and thread count
// alone, so the callers fix these by the tensors' shapes.
#pragma once

#include <cstdint>

namespace talaria::model::cpu {

// c (rows x columns) = a (rows x depth) b (depth x columns), or c += with `accumulate`. A matrix
// lies row-major with the given stride between rows; a transposed operand is stored as its
// transpose, whose rows the stride then separates.
struct DenseProduct {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  std::int64_t a_stride = 0;
  std::int64_t b_stride = 0;
  std::int64_t c_stride = 0;
  bool a_transposed = false;
  bool b_transposed = false;
  bool accumulate = false;
  int threads = 1;  // OpenMP threads that share the product

  bool operator==(const DenseProduct&) const = default;
};

// Primitives are made at the first call of a shape and kept by the calling thread.
void multiply(const DenseProduct& product, const float* a, const float* b, float* c);

}  // namespace talaria::model::cpu
