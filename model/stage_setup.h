// SPDX-License-Identifier: Apache-2.0
// What a pipeline stage is told: the model, the mesh position, the numerics and the shape of a
// micro-batch.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/dropout_sites.h"
#include "model/ops.h"
#include "parallel/communicator.h"
#include "parallel/mesh.h"

namespace talaria::model {

struct StageSetup {
  GptConfig config;
  HeadKind head = HeadKind::kLanguageModel;
  Numerics numerics;
  parallel::Layout layout;
  parallel::Coordinate at;
  std::int64_t first_layer = 0;  // blocks [first_layer, last_layer)
  std::int64_t last_layer = 0;
  std::int64_t micro_batch = 1;   // samples
  std::int64_t length = 0;        // T
  std::int64_t global_batch = 1;  // samples of a step, all data ranks
  double dropout = 0.0;
  std::uint64_t seed = 1;
  // Forward passes only: no gradients, and activations of two layers at a time.
  bool frozen = false;
  bool draw_weights = true;  // from the seed; false: they are 0 until they are read

  bool is_first() const { return at.pipeline == 0; }
  bool is_last() const { return at.pipeline == layout.pipeline - 1; }
  // Whether the last stage uses tok_embed too.
  bool tied() const { return head == HeadKind::kLanguageModel; }
  bool holds_tokens() const { return is_first() || (is_last() && tied()); }

  // Virtual shards of this rank and the global index of the first.
  std::int64_t shards() const { return numerics.virtual_shards / layout.tensor; }
  std::int64_t first_shard() const { return at.tensor * shards(); }
  // A shard's part of a dimension.
  std::int64_t per_shard(std::int64_t size) const { return size / numerics.virtual_shards; }
  // The vocabulary is padded to a multiple of 128 V, whatever tp is.
  std::int64_t vocab_per_shard() const {
    const std::int64_t unit = std::int64_t{128} * numerics.virtual_shards;
    return (config.vocab + unit - 1) / unit * 128;
  }

  // A product's outer batch and its rows: a sample each, or the micro-batch as one (model/ops.h).
  std::int64_t items() const { return numerics.invariant ? micro_batch : 1; }
  std::int64_t rows_per_item() const { return tokens() / items(); }
  std::int64_t tokens() const { return micro_batch * length; }

  std::int64_t samples_per_rank() const { return global_batch / layout.data; }
  std::int64_t micro_batches() const { return samples_per_rank() / micro_batch; }
  std::int64_t local_groups() const { return numerics.sample_groups / layout.data; }
  std::int64_t micro_batches_per_group() const { return micro_batches() / local_groups(); }
};

// The step that a forward pass belongs to: names its random bits.
struct StepContext {
  std::uint32_t step = 0;
  bool training = true;  // false: no dropout, no gradients
  std::uint64_t seed = 1;
  double dropout = 0.0;

  Dropout site(std::uint32_t stream, std::int64_t first_sample) const {
    return {training ? static_cast<float>(dropout) : 0.0F, {seed, step, stream}, first_sample};
  }
};

}  // namespace talaria::model
