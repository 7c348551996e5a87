// SPDX-License-Identifier: Apache-2.0
// A view of a dense row-major tensor: where it lies and what shape it has. Owns nothing.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace talaria {

enum class DeviceKind : std::uint8_t { kCpu, kCuda };

// Element is float, double, std::int32_t, ... (or its const form). At most 4 dims; dims beyond
// `ndim` count as 1, so shape[i] may always be read.
template <class Element>
struct Tensor {
  Element* data = nullptr;
  std::array<std::int64_t, 4> shape = {1, 1, 1, 1};
  int ndim = 0;
  DeviceKind device = DeviceKind::kCpu;

  Tensor() = default;
  Tensor(Element* elements, std::initializer_list<std::int64_t> dims,
         DeviceKind where = DeviceKind::kCpu)
      : data(elements), ndim(static_cast<int>(dims.size())), device(where) {
    int i = 0;
    for (const std::int64_t dim : dims) shape[static_cast<std::size_t>(i++)] = dim;
  }
  // A view of mutable elements reads as a view of const ones.
  operator Tensor<const Element>() const {  // NOLINT: implicit on purpose
    Tensor<const Element> view;
    view.data = data;
    view.shape = shape;
    view.ndim = ndim;
    view.device = device;
    return view;
  }

  explicit operator bool() const { return data != nullptr; }
  std::int64_t dim(int i) const { return shape[static_cast<std::size_t>(i)]; }
  std::int64_t count() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

using TensorView = Tensor<float>;
using ConstTensorView = Tensor<const float>;
using IdView = Tensor<const std::int32_t>;

}  // namespace talaria
