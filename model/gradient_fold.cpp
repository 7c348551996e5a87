// SPDX-License-Identifier: Apache-2.0
#include "model/gradient_fold.h"

#include <bit>
#include <cstring>

namespace talaria::model {

GroupFold::GroupFold(std::int64_t count, std::int64_t groups) : count_(count), groups_(groups) {
  TALARIA_CHECK(groups >= 1 && std::has_single_bit(static_cast<std::uint64_t>(groups)), "{} groups",
                groups);
  for (std::int64_t g = 1; g < groups; g *= 2) levels_.emplace_back(count);
}

void GroupFold::finish_group(const Stream& stream, float* gradient) {
  const TensorView sum(gradient, {count_});
  std::size_t level = 0;
  // Equal-sized runs of groups merge, the older one being the left operand of a commutative add.
  for (std::int64_t group = next_; (group & 1) != 0; group >>= 1) {
    add_into(stream, sum, TensorView(levels_[level].data(), {count_}));
    ++level;
  }
  if (++next_ == groups_) {
    next_ = 0;
    return;
  }
  const auto bytes = static_cast<std::size_t>(count_) * sizeof(float);
  std::memcpy(levels_[level].data(), gradient, bytes);
  std::memset(gradient, 0, bytes);
}

std::int64_t GroupFold::bytes() const {
  return static_cast<std::int64_t>(levels_.size()) * count_ *
         static_cast<std::int64_t>(sizeof(float));
}

std::size_t TokenSums::add(std::int64_t offset, std::int64_t channels) {
  entries_.push_back({offset, channels, count_});
  count_ += channels * chunks_;
  return entries_.size() - 1;
}

void TokenSums::allocate() { sums_ = HostBuffer<float>(count_); }

TensorView TokenSums::view(std::size_t number) {
  const Entry& entry = entries_[number];
  return {sums_.data() + entry.at, {chunks_, entry.channels}};
}

void TokenSums::fold(float* gradients) {
  for (const Entry& entry : entries_) {
    float* sums = sums_.data() + entry.at;
    // Neighbours first: ((0+1)+(2+3))+...; chunks without a partner move up unchanged.
    for (int width = 1; width < chunks_; width *= 2) {
      for (int chunk = 0; chunk + width < chunks_; chunk += 2 * width) {
        float* left = sums + chunk * entry.channels;
        const float* right = sums + (chunk + width) * entry.channels;
        for (std::int64_t c = 0; c < entry.channels; ++c) left[c] += right[c];
      }
    }
    for (std::int64_t c = 0; c < entry.channels; ++c) gradients[entry.gradient + c] += sums[c];
  }
  sums_.clear();
}

}  // namespace talaria::model
