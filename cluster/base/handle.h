// SPDX-License-Identifier: Apache-2.0
// One owning wrapper for every C handle: MPI_Comm, hid_t, cudaStream_t, file descriptors.
#pragma once

#include <utility>

namespace talaria {

// Traits has `using Handle`, `static Handle empty()` and `static void close(Handle) noexcept`.
template <class Traits>
class UniqueHandle {
 public:
  using Handle = typename Traits::Handle;

  UniqueHandle() = default;
  explicit UniqueHandle(Handle handle) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(other.release()) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { reset(); }

  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != Traits::empty(); }
  Handle release() { return std::exchange(handle_, Traits::empty()); }
  void reset(Handle handle = Traits::empty()) {
    const Handle old = std::exchange(handle_, handle);
    if (old != Traits::empty()) Traits::close(old);
  }

 private:
  Handle handle_ = Traits::empty();
};

}  // namespace talaria
