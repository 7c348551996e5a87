// SPDX-License-Identifier: Apache-2.0
// Owns zeroed host memory, aligned for the widest vector; large ones in huge pages where the kernel
// gives them: a loop that streams weights through the core otherwise waits for page tables.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <sys/mman.h>

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
    const std::int64_t wanted = checked_product(count, sizeof(Element), "buffer bytes");
    const std::int64_t alignment = wanted >= kLarge ? kHugePage : kAlignment;
    const std::int64_t bytes = (wanted + alignment - 1) / alignment * alignment;
    data_ = static_cast<Element*>(
        std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(bytes)));
    if (data_ == nullptr) fail("out of memory: {} bytes", bytes);
    // A kernel without huge pages refuses the advice, and nothing is lost.
    if (wanted >= kLarge) ::madvise(data_, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
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
  static constexpr std::int64_t kHugePage = std::int64_t{2} << 20;
  // From here on rounding up to huge pages wastes less than an eighth.
  static constexpr std::int64_t kLarge = 8 * kHugePage;

 private:
  Element* data_ = nullptr;
  std::int64_t count_ = 0;
};

}  // namespace talaria
