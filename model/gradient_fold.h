// SPDX-License-Identifier: Apache-2.0
// How the gradients of a step's samples meet (docs/numerics.md): samples fold in ascending order
// into the accumulator of their group, groups meet in a balanced binary tree, inside the rank here
// and then over the data ranks; token sums of replicated parameters keep one accumulator a chunk of
// tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/device/buffer.h"
#include "cluster/device/tensor.h"
#include "model/ops.h"

namespace talaria::model {

// Folds `groups` (a power of two) partial gradients, which one buffer of `count` elements presents
// one after the other, with log2(groups) extra buffers: a binary counter of sums.
class GroupFold {
 public:
  GroupFold(std::int64_t count, std::int64_t groups);

  // `gradient` holds the next group's sum. After the last group it holds the tree sum of all;
  // before that it is left zeroed for the next group.
  void finish_group(const Stream& stream, float* gradient);
  std::int64_t bytes() const;

 private:
  std::int64_t count_;
  std::int64_t groups_;
  std::int64_t next_ = 0;
  std::vector<HostBuffer<float>> levels_;
};

// Accumulators [chunks, C] of replicated vectors, folded into their gradients at the end of a
// group.
class TokenSums {
 public:
  explicit TokenSums(int chunks) : chunks_(chunks) {}

  // `offset`: of the vector's gradient in the flat buffer. Returns the number for view().
  std::size_t add(std::int64_t offset, std::int64_t channels);
  void allocate();
  TensorView view(std::size_t number);
  // gradients[offset + c] = balanced tree over chunks; the accumulators are zeroed.
  void fold(float* gradients);

 private:
  struct Entry {
    std::int64_t gradient;
    std::int64_t channels;
    std::int64_t at;
  };
  int chunks_;
  std::vector<Entry> entries_;
  std::int64_t count_ = 0;
  HostBuffer<float> sums_;
};

}  // namespace talaria::model
