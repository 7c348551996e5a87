// SPDX-License-Identifier: Apache-2.0
// Products, biases and sums over tokens and shards.
#include <algorithm>
#include <vector>

#include "model/ref/ops.h"

namespace talaria::model::ref {
namespace {

// Where the matrix of (item, shard) begins; leading dims of 1 broadcast.
const double* matrix(const In& x, std::int64_t item, std::int64_t shard) {
  const std::int64_t i = x.dim(0) == 1 ? 0 : item;
  const std::int64_t v = x.dim(1) == 1 ? 0 : shard;
  return x.data + (i * x.dim(1) + v) * x.dim(2) * x.dim(3);
}

double tree(const std::vector<double>& x, std::size_t begin, std::size_t count) {
  if (count == 1) return x[begin];
  std::size_t left = 1;
  while (left * 2 < count) left *= 2;
  return tree(x, begin, left) + tree(x, begin + left, count - left);
}

}  // namespace

void matmul_nt(In a, In b, Out c) {
  const std::int64_t rows = c.dim(2);
  const std::int64_t columns = c.dim(3);
  const std::int64_t depth = a.dim(3);
  for (std::int64_t n = 0; n < c.dim(0); ++n) {
    for (std::int64_t v = 0; v < c.dim(1); ++v) {
      const double* left = matrix(a, n, v);
      const double* right = b.data + (b.dim(0) == 1 ? 0 : v) * columns * depth;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          double sum = 0.0;
          for (std::int64_t k = 0; k < depth; ++k)
            sum += left[i * depth + k] * right[j * depth + k];
          c.data[((n * c.dim(1) + v) * rows + i) * columns + j] = sum;
        }
      }
    }
  }
}

void matmul_nn(In a, In b, Out c) {
  const std::int64_t rows = c.dim(2);
  const std::int64_t columns = c.dim(3);
  const std::int64_t depth = a.dim(3);
  for (std::int64_t n = 0; n < c.dim(0); ++n) {
    for (std::int64_t v = 0; v < c.dim(1); ++v) {
      const double* left = matrix(a, n, v);
      const double* right = b.data + (b.dim(0) == 1 ? 0 : v) * columns * depth;
      for (std::int64_t i = 0; i < rows; ++i) {
        double* out = c.data + ((n * c.dim(1) + v) * rows + i) * columns;
        for (std::int64_t j = 0; j < columns; ++j) {
          double sum = 0.0;
          for (std::int64_t k = 0; k < depth; ++k) {
            sum += left[i * depth + k] * right[k * columns + j];
          }
          out[j] = sum;
        }
      }
    }
  }
}

void matmul_tn_add(In a, In b, Out c) {
  const std::int64_t items = std::max(a.dim(0), b.dim(0));
  const std::int64_t rows = c.dim(1);
  const std::int64_t columns = c.dim(2);
  for (std::int64_t v = 0; v < c.dim(0); ++v) {
    for (std::int64_t n = 0; n < items; ++n) {
      const double* left = matrix(a, n, v);
      const double* right = matrix(b, n, v);
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          double sum = 0.0;
          for (std::int64_t r = 0; r < a.dim(2); ++r) {
            sum += left[r * rows + i] * right[r * columns + j];
          }
          c.data[(v * rows + i) * columns + j] += sum;
        }
      }
    }
  }
}

void tree_sum_shards(Out partial, Out out) {
  const std::int64_t extent = out.dim(1) * out.dim(2);
  std::vector<double> values(static_cast<std::size_t>(partial.dim(1)));
  for (std::int64_t n = 0; n < out.dim(0); ++n) {
    for (std::int64_t i = 0; i < extent; ++i) {
      for (std::int64_t v = 0; v < partial.dim(1); ++v) {
        values[static_cast<std::size_t>(v)] = partial.data[(n * partial.dim(1) + v) * extent + i];
      }
      out.data[n * extent + i] = tree(values, 0, values.size());
    }
  }
}

void matmul_rows(In a, In b, Out c) {
  const std::int64_t depth = b.dim(2);
  for (std::int64_t i = 0; i < c.count(); ++i) {
    const std::int64_t column = i % c.dim(2);
    const std::int64_t row = i / c.dim(2) % c.dim(1);
    const std::int64_t v = i / c.dim(2) / c.dim(1);
    const double* left = a.data + ((a.dim(0) == 1 ? 0 : v) * c.dim(1) + row) * depth;
    const double* right = b.data + (v * c.dim(2) + column) * depth;
    double sum = 0.0;
    for (std::int64_t k = 0; k < depth; ++k) sum += left[k] * right[k];
    c.data[i] = sum;
  }
}

void add_bias(Out x, In bias) {
  const std::int64_t columns = x.dim(3);
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const std::int64_t shard = i / columns / x.dim(2) % x.dim(1);
    x.data[i] += bias.data[shard * columns + i % columns];
  }
}

void add_bias_backward(In dy, Out dbias) {
  const std::int64_t columns = dy.dim(3);
  for (std::int64_t i = 0; i < dy.count(); ++i) {
    const std::int64_t shard = i / columns / dy.dim(2) % dy.dim(1);
    dbias.data[shard * columns + i % columns] += dy.data[i];
  }
}

void scale_rows(In factors, Out x) {
  for (std::int64_t i = 0; i < x.count(); ++i) x.data[i] *= factors.data[i / x.dim(1)];
}

void token_sums(In dy, std::int64_t length, Out sums) {
  const std::int64_t columns = dy.dim(1);
  const std::int64_t chunk_length = length / sums.dim(0);
  for (std::int64_t row = 0; row < dy.dim(0); ++row) {
    const std::int64_t chunk = row % length / chunk_length;
    for (std::int64_t c = 0; c < columns; ++c) {
      sums.data[chunk * columns + c] += dy.data[row * columns + c];
    }
  }
}

}  // namespace talaria::model::ref
