// SPDX-License-Identifier: Apache-2.0
// The weights that one rank holds: one flat buffer of dense blocks. A block is the part of a
// logical tensor that one virtual shard owns, so optimizer, norm, ZeRO and checkpoints are loops
// over blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "cluster/device/buffer.h"
#include "cluster/device/tensor.h"
#include "parallel/box.h"
#include "parallel/zero.h"

namespace talaria::model {

// What a logical tensor is, the same on every rank.
struct TensorSpec {
  std::string name;       // "blocks.3.attn.q.weight"
  parallel::Dims global;  // a vector of n elements is [n, 1]
  bool vector = false;
  double init_std = 0.0;  // N(0, init_std); 0: the constant `init_value`
  float init_value = 0.0F;
  bool decay = false;             // weight decay applies (matrices and embeddings)
  std::int64_t hash_columns = 0;  // width of a hash segment: no layout splits inside it
};

struct ParameterBlock {
  TensorSpec tensor;
  parallel::Box box;        // the real elements; padding rows lie behind them in memory
  std::int64_t offset = 0;  // in the flat buffer
  std::int64_t rows = 0;    // in memory, padding included
  std::int64_t cols = 0;
  // This rank answers for the block's norm and checkpoint; false on the other holders of a copy.
  bool counted = true;

  std::int64_t count() const { return rows * cols; }
};

class Parameters {
 public:
  // Begins a packed weight: the blocks added next lie behind each other from an aligned offset,
  // which is returned.
  std::int64_t begin_weight();
  void add_block(const TensorSpec& tensor, const parallel::Box& box, std::int64_t rows,
                 bool counted);
  // Allocates weights, all zero, and gradients if wanted. No block may be added afterwards.
  void allocate(bool with_gradients = true);

  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  std::vector<parallel::FlatBlock> flat_blocks() const;
  std::int64_t count() const { return next_; }  // elements, padding included
  // Real elements held by this rank.
  std::int64_t real_count() const;

  float* weights() { return weights_.data(); }
  const float* weights() const { return weights_.data(); }
  float* gradients() { return gradients_.data(); }  // nullptr without

  // The real rows of `rows` of a block, as a named box whose elements begin at `data`.
  parallel::NamedBox named_box(std::size_t block, parallel::RowRange rows, float* data) const;
  // All real weights of this rank; views into live memory.
  std::vector<parallel::NamedBox> weight_boxes();

  TensorView weight(std::int64_t offset, std::initializer_list<std::int64_t> dims) {
    return {weights_.data() + offset, dims};
  }
  TensorView gradient(std::int64_t offset, std::initializer_list<std::int64_t> dims) {
    return {gradients_.data() + offset, dims};
  }

  // Fills the weights from the seed: a pure function of (seed, tensor name, element), so every
  // layout starts from the same model. Normals by Box and Muller from Philox.
  void initialise(std::uint64_t seed, ThreadPool& pool);

 private:
  std::vector<ParameterBlock> blocks_;
  std::int64_t next_ = 0;
  HostBuffer<float> weights_;
  HostBuffer<float> gradients_;  // empty without gradients
};

}  // namespace talaria::model
