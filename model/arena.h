// SPDX-License-Identifier: Apache-2.0
// Scratch memory for the temporaries of one layer call: take() hands out, reset() takes all back.
// Grows on first use to what the largest call needs, then never allocates again.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "cluster/device/buffer.h"
#include "cluster/device/tensor.h"

namespace talaria::model {

class Arena {
 public:
  // An uninitialised tensor, valid until reset().
  TensorView take(std::initializer_list<std::int64_t> dims) {
    std::int64_t count = 1;
    for (const std::int64_t dim : dims) count = checked_product(count, dim, "scratch tensor");
    const std::int64_t padded = (count + kPad - 1) / kPad * kPad;
    used_ += padded;
    if (chunks_.empty() || at_ + padded > chunks_.back().count()) {
      chunks_.emplace_back(padded);
      at_ = 0;
    }
    float* data = chunks_.back().data() + at_;
    at_ += padded;
    return {data, dims};
  }

  void reset() {
    if (chunks_.size() > 1) {
      chunks_.clear();
      chunks_.emplace_back(used_);
    }
    at_ = 0;
    used_ = 0;
  }

  std::int64_t bytes() const {
    std::int64_t total = 0;
    for (const auto& chunk : chunks_)
      total += chunk.count() * static_cast<std::int64_t>(sizeof(float));
    return total;
  }

 private:
  static constexpr std::int64_t kPad = 16;
  std::vector<HostBuffer<float>> chunks_;
  std::int64_t at_ = 0;
  std::int64_t used_ = 0;
};

}  // namespace talaria::model
