// SPDX-License-Identifier: Apache-2.0
#include "model/parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/dropout_sites.h"
#include "model/philox.h"

namespace talaria::model {
namespace {

constexpr std::int64_t kAlign = 16;  // elements: 64 bytes

// The standard normal of one element of a tensor. A Philox block gives two pairs, a pair gives two.
float initial_normal(std::uint64_t seed, std::uint32_t stream, std::int64_t element) {
  const std::int64_t block = element / 4;
  const PhiloxBlock words = philox4x32({static_cast<std::uint32_t>(block), stream,
                                        static_cast<std::uint32_t>(block >> 32), kInitialStep},
                                       seed);
  const std::size_t pair = static_cast<std::size_t>(element % 4) / 2 * 2;
  const double u = (static_cast<double>(words[pair]) + 1.0) * 0x1p-32;  // in (0, 1]
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(words[pair + 1]) * 0x1p-32;
  const double radius = std::sqrt(-2.0 * std::log(u));
  return static_cast<float>(radius * (element % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

}  // namespace

std::int64_t Parameters::begin_weight() {
  next_ = (next_ + kAlign - 1) / kAlign * kAlign;
  return next_;
}

void Parameters::add_block(const TensorSpec& tensor, const parallel::Box& box, std::int64_t rows,
                           bool counted) {
  TALARIA_CHECK(weights_.count() == 0 && rows >= box.extent[0], "{}", tensor.name);
  ParameterBlock block;
  block.tensor = tensor;
  block.box = box;
  block.offset = next_;
  block.rows = rows;
  block.cols = box.extent[1];
  block.counted = counted;
  next_ += checked_product(rows, block.cols, tensor.name.c_str());
  blocks_.push_back(block);
}

void Parameters::allocate(bool with_gradients) {
  begin_weight();
  weights_ = HostBuffer<float>(next_);
  if (with_gradients) gradients_ = HostBuffer<float>(next_);
}

std::vector<parallel::FlatBlock> Parameters::flat_blocks() const {
  std::vector<parallel::FlatBlock> flat;
  for (const ParameterBlock& block : blocks_)
    flat.push_back({block.offset, block.rows, block.cols});
  return flat;
}

std::int64_t Parameters::real_count() const {
  std::int64_t total = 0;
  for (const ParameterBlock& block : blocks_) total += block.box.count();
  return total;
}

parallel::NamedBox Parameters::named_box(std::size_t block, parallel::RowRange rows,
                                         float* data) const {
  const ParameterBlock& from = blocks_[block];
  parallel::NamedBox named;
  named.tensor = from.tensor.name;
  named.global = from.tensor.global;
  named.vector = from.tensor.vector;
  named.hash_columns = from.tensor.hash_columns;
  const std::int64_t begin = std::min(rows.begin, from.box.extent[0]);
  const std::int64_t end = std::min(rows.end, from.box.extent[0]);
  named.box = {{from.box.offset[0] + begin, from.box.offset[1]}, {end - begin, from.cols}};
  named.data = data;
  return named;
}

std::vector<parallel::NamedBox> Parameters::weight_boxes() {
  std::vector<parallel::NamedBox> boxes;
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    boxes.push_back(named_box(b, {0, blocks_[b].rows}, weights_.data() + blocks_[b].offset));
    if (boxes.back().box.empty()) boxes.pop_back();
  }
  return boxes;
}

void Parameters::initialise(std::uint64_t seed, ThreadPool& pool) {
  weights_.clear();
  for (const ParameterBlock& block : blocks_) {
    const TensorSpec& tensor = block.tensor;
    const std::uint32_t stream = initial_stream(tensor.name);
    pool.run(block.box.extent[0], [&](std::int64_t row, int) {
      float* out = weights_.data() + block.offset + row * block.cols;
      const std::int64_t first =
          (block.box.offset[0] + row) * tensor.global[1] + block.box.offset[1];
      for (std::int64_t c = 0; c < block.cols; ++c) {
        out[c] = tensor.init_std == 0.0 ? tensor.init_value
                                        : static_cast<float>(tensor.init_std) *
                                              initial_normal(seed, stream, first + c);
      }
    });
  }
}

}  // namespace talaria::model
