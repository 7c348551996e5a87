// SPDX-License-Identifier: Apache-2.0
// Owns zeroed host memory, aligned for the widest vector.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "cluster/base/error.h"
#include "cluster/device/tensor.h"

namespace talaria {

template <class Element>
class HostBuffer {
 public:
  HostBuffer() = default;
  // `count` zeroed elements. Throws Error naming the size when there is no memory.
  explicit HostBuffer(std::int64_t count) : count_(count) {
    if (count == 0) return;
    const std::int64_t bytes =
        (checked_product(count, sizeof(Element), "buffer bytes") + kAlignment - 1) / kAlignment *
        kAlignment;
    data_ = static_cast<Element*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(bytes)));
    if (data_ == nullptr) fail("out of memory: {} bytes", bytes);
    std::memset(static_cast<void*>(data_), 0, static_cast<std::size_t>(bytes));
  }
  HostBuffer(HostBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer() { std::free(data_); }

  Element* data() { return data_; }
  const Element* data() const { return data_; }
  std::int64_t count() const { return count_; }
  void clear() {
    if (count_ > 0) {
      std::memset(static_cast<void*>(data_), 0, static_cast<std::size_t>(count_) * sizeof(Element));
    }
  }

  static constexpr std::int64_t kAlignment = 64;

 private:
  Element* data_ = nullptr;
  std::int64_t count_ = 0;
};

}  // namespace talaria
