// SPDX-License-Identifier: Apache-2.0
#include "worker/peak.h"

#include <algorithm>
#include <vector>

#include "cluster/base/clock.h"
#include "cluster/base/thread_pool.h"
#include "cluster/device/buffer.h"
#include "model/ops.h"

namespace talaria::worker {

double measure_matrix_peak(int threads, bool thorough) {
  ThreadPool pool(threads);
  model::Stream stream;
  stream.pool = &pool;
  stream.split_products = true;
  double best = 0.0;
  for (const std::int64_t n : {1024, 2048, 4096}) {
    if (n > 1024 && !thorough) break;
    HostBuffer<float> a(n * n);
    HostBuffer<float> b(n * n);
    HostBuffer<float> c(n * n);
    for (int repeat = 0; repeat < (thorough ? 6 : 4); ++repeat) {
      const double start = monotonic_seconds();
      model::matmul_nt(stream, TensorView(a.data(), {1, 1, n, n}), TensorView(b.data(), {1, n, n}),
                       {c.data(), {1, 1, n, n}});
      const double seconds = monotonic_seconds() - start;
      const auto flops =
          2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
      if (repeat > 0) best = std::max(best, flops / seconds);
    }
  }
  return best;
}

}  // namespace talaria::worker
