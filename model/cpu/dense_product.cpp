// SPDX-License-Identifier: Apache-2.0
#include "model/cpu/dense_product.h"

#include <memory>
#include <unordered_map>

#include <dnnl.hpp>
#include <omp.h>

#include "cluster/base/error.h"

namespace talaria::model::cpu {
namespace {

using dnnl::memory;

// Sets the calling thread's OpenMP team size for a scope. oneDNN reads it when it plans a primitive
// and when it runs one.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int threads) : before_(omp_get_max_threads()) {
    if (before_ != threads) omp_set_num_threads(threads);
  }
  ~OpenMpThreads() { omp_set_num_threads(before_); }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

struct ShapeHash {
  std::size_t operator()(const DenseProduct& p) const {
    std::size_t hash = 0;
    for (const std::int64_t word :
         {p.rows, p.columns, p.depth, p.a_stride, p.b_stride, p.c_stride,
          std::int64_t{p.a_transposed} + 2 * std::int64_t{p.b_transposed} +
              4 * std::int64_t{p.accumulate} + 8 * p.threads}) {
      hash = (hash ^ static_cast<std::size_t>(word)) * 0x9E3779B97F4A7C15ULL;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

// A planned product with its memory objects, which are pointed at the operands of each call.
struct Planned {
  dnnl::matmul primitive;
  memory a, b, c;
  std::unordered_map<int, memory> arguments;
};

// Everything of oneDNN that one thread uses.
class ThreadProducts {
 public:
  ThreadProducts() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  void run(const DenseProduct& product, const float* a, const float* b, float* c) {
    const OpenMpThreads team(product.threads);
    auto found = planned_.find(product);
    if (found == planned_.end()) found = planned_.emplace(product, plan(product)).first;
    Planned& planned = found->second;
    planned.a.set_data_handle(const_cast<float*>(a));
    planned.b.set_data_handle(const_cast<float*>(b));
    planned.c.set_data_handle(c);
    planned.primitive.execute(stream_, planned.arguments);
    stream_.wait();
  }

 private:
  static memory::desc describe(std::int64_t rows, std::int64_t columns, std::int64_t stride,
                               bool transposed) {
    const memory::dims strides = transposed ? memory::dims{1, stride} : memory::dims{stride, 1};
    return {{rows, columns}, memory::data_type::f32, strides};
  }

  Planned plan(const DenseProduct& p) {
    const memory::desc a = describe(p.rows, p.depth, p.a_stride, p.a_transposed);
    const memory::desc b = describe(p.depth, p.columns, p.b_stride, p.b_transposed);
    const memory::desc c = describe(p.rows, p.columns, p.c_stride, false);
    dnnl::primitive_attr attributes;
    if (p.accumulate) {
      dnnl::post_ops add;
      add.append_sum(1.0F);
      attributes.set_post_ops(add);
    }
    const dnnl::matmul::primitive_desc description({a, b, c}, attributes, engine_);
    Planned planned{dnnl::matmul(description),
                    memory(a, engine_, nullptr),
                    memory(b, engine_, nullptr),
                    memory(c, engine_, nullptr),
                    {}};
    planned.arguments = {
        {DNNL_ARG_SRC, planned.a}, {DNNL_ARG_WEIGHTS, planned.b}, {DNNL_ARG_DST, planned.c}};
    return planned;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::unordered_map<DenseProduct, Planned, ShapeHash> planned_;
};

}  // namespace

void multiply(const DenseProduct& product, const float* a, const float* b, float* c) {
  thread_local ThreadProducts products;
  try {
    products.run(product, a, b, c);
  } catch (const dnnl::error& error) {
    fail("oneDNN matmul {} x {} x {}: {} (status {})", product.rows, product.columns, product.depth,
         error.what(), static_cast<int>(error.status));
  }
}

}  // namespace talaria::model::cpu
