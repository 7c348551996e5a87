// SPDX-License-Identifier: Apache-2.0
// Weights of a GPT-2 between a folder of Hugging Face and a checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/reader.h"
#include "storage/exchange/hf_gpt2.h"

namespace talaria::storage {

// A whole model in memory, 4 bytes a parameter.
struct ImportedGpt2 {
  Gpt2Shape shape;
  std::string dtypes;  // of the files: "F32", or "BF16, F32" where they differ
  std::vector<float> values;
  BoxGroup group;  // "param": every tensor whole; points into `values`
};

// Reads config.json and the safetensors of `folder`. Nothing is allocated for a tensor before the
// file is known to hold it. Throws UsageError, one line naming file and tensor or key, for what is
// broken, missing, unknown or not computed alike; masks are left out, a head that is the token
// embedding bit for bit is dropped.
ImportedGpt2 import_gpt2(const std::filesystem::path& folder);

struct Gpt2Export {
  Gpt2Shape shape;
  Gpt2ConfigExtras extras;  // extras.type is the type of the weights
  std::int64_t max_shard_bytes = 5'000'000'000;
};

// Checks that the checkpoint holds exactly the weights of `shape` (and moments, which stay behind),
// whatever its layout. Throws UsageError naming a tensor that is missing, of another shape, or has
// no place in GPT-2, a scalar head for example.
void check_exportable(const CheckpointReader& reader, const Gpt2Shape& shape);

// Writes config.json and model.safetensors into the existing `folder`, or shards with an index
// where the weights have more than max_shard_bytes; files are synced. Reads at most about 128 MiB
// at a time. Throws UsageError for a weight that extras.type cannot hold.
void export_gpt2(const CheckpointReader& reader, const Gpt2Export& options,
                 const std::filesystem::path& folder);

}  // namespace talaria::storage
