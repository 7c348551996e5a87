// SPDX-License-Identifier: Apache-2.0
// Tensors held twice, in f32 for the cpu kernels and in f64 for ref/, from the same values; and the
// comparison of an operation's two forms.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/thread_pool.h"
#include "model/ops.h"

namespace talaria::model::test {

using Dims = std::vector<std::int64_t>;

template <class Element>
Tensor<Element> view(Element* data, const Dims& dims) {
  Tensor<Element> tensor;
  tensor.data = data;
  tensor.ndim = static_cast<int>(dims.size());
  for (std::size_t i = 0; i < dims.size(); ++i) tensor.shape[i] = dims[i];
  return tensor;
}

inline std::int64_t count_of(const Dims& dims) {
  std::int64_t count = 1;
  for (const std::int64_t dim : dims) count *= dim;
  return count;
}

class Twin {
 public:
  explicit Twin(Dims dims_in)
      : dims(std::move(dims_in)),
        f32(static_cast<std::size_t>(count_of(dims))),
        f64(static_cast<std::size_t>(count_of(dims))) {}

  TensorView f() { return view(f32.data(), dims); }
  Tensor<double> d() { return view(f64.data(), dims); }
  void set(std::size_t i, float value) {
    f32[i] = value;
    f64[i] = value;
  }

  Dims dims;
  std::vector<float> f32;
  std::vector<double> f64;
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  Twin normal(const Dims& dims, float scale = 1.0F) {
    Twin twin(dims);
    std::normal_distribution<float> draw(0.0F, scale);
    for (std::size_t i = 0; i < twin.f32.size(); ++i) twin.set(i, draw(engine_));
    return twin;
  }
  std::vector<std::int32_t> ids(std::int64_t count, std::int32_t limit) {
    std::uniform_int_distribution<std::int32_t> draw(0, limit - 1);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
    for (std::int32_t& id : ids) id = draw(engine_);
    return ids;
  }

 private:
  std::mt19937 engine_;
};

// The largest |f32 - f64| over the outputs, relative to the largest |f64| of the tensor.
inline double relative_error(const Twin& twin) {
  double worst = 0.0;
  double largest = 1e-30;
  for (std::size_t i = 0; i < twin.f64.size(); ++i) {
    const double error = std::abs(static_cast<double>(twin.f32[i]) - twin.f64[i]);
    if (!(error <= worst)) worst = error;
    largest = std::max(largest, std::abs(twin.f64[i]));
  }
  return worst / largest;
}

// Runs the cpu form with pools of 1, 2 and 3 threads from the same initial outputs, expects equal
// bits, and expects them within `tolerance` of the ref form.
inline void compare(const std::string& what, std::vector<Twin*> outputs, double tolerance,
                    const std::function<void(const Stream&)>& cpu,
                    const std::function<void()>& ref) {
  std::vector<std::vector<float>> before;
  std::vector<std::vector<float>> first;
  before.reserve(outputs.size());
  for (const Twin* output : outputs) before.push_back(output->f32);
  for (const int threads : {1, 2, 3}) {
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i]->f32 = before[i];
    ThreadPool pool(threads);
    Stream stream;
    stream.pool = &pool;
    cpu(stream);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::vector<float>& now = outputs[i]->f32;
      if (threads == 1) {
        first.push_back(now);
      } else {
        EXPECT_EQ(0, std::memcmp(now.data(), first[i].data(), now.size() * sizeof(float)))
            << what << ": output " << i << " differs with " << threads << " threads";
      }
    }
  }
  ref();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_LE(relative_error(*outputs[i]), tolerance) << what << ": output " << i;
  }
}

inline std::string describe(const char* operation, const Dims& dims) {
  return fmt::format("{} {}", operation, fmt::join(dims, " "));
}

}  // namespace talaria::model::test
