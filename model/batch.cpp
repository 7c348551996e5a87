// SPDX-License-Identifier: Apache-2.0
#include "model/batch.h"

#include "cluster/base/error.h"

namespace talaria::model {

Batch causal_batch(std::span<const std::int32_t> ids, std::int64_t length) {
  const auto width = static_cast<std::size_t>(length) + 1;
  TALARIA_CHECK(length > 0 && ids.size() % width == 0, "{} ids in rows of {}", ids.size(), width);
  Batch batch;
  batch.length = length;
  for (std::size_t row = 0; row < ids.size(); row += width) {
    const std::span<const std::int32_t> sample = ids.subspan(row, width);
    batch.inputs.insert(batch.inputs.end(), sample.begin(), sample.end() - 1);
    batch.targets.insert(batch.targets.end(), sample.begin() + 1, sample.end());
  }
  batch.weights.assign(batch.inputs.size(), 1.0F);
  batch.starts.assign(batch.inputs.size(), 0);
  return batch;
}

void check_batch(const Batch& batch) {
  const std::size_t count = batch.inputs.size();
  TALARIA_CHECK(batch.length > 0 && count % static_cast<std::size_t>(batch.length) == 0,
                "{} tokens in rows of {}", count, batch.length);
  TALARIA_CHECK(batch.targets.size() == count && batch.weights.size() == count &&
                    batch.starts.size() == count,
                "{} inputs, {} targets, {} weights, {} starts", count, batch.targets.size(),
                batch.weights.size(), batch.starts.size());
  for (std::size_t i = 0; i < count; ++i) {
    const auto t = static_cast<std::int64_t>(i) % batch.length;
    const std::int32_t least = t == 0 ? 0 : batch.starts[i - 1];
    TALARIA_CHECK(batch.starts[i] >= least && batch.starts[i] <= t,
                  "token {} of a row starts at {}", t, batch.starts[i]);
  }
}

}  // namespace talaria::model
