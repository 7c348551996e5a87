// SPDX-License-Identifier: Apache-2.0
// Is a checkpoint what was written? Every byte of every file is read; and the restart's question:
// which is the newest one that is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "storage/checkpoint/checkpoint.h"

namespace talaria::storage {

struct Damage {
  std::filesystem::path file;
  std::string tensor;  // "param/blocks.3.attn.q.weight"; empty where the damage is in none
  std::string what;

  // "FILE: tensor param/x: what", one line.
  std::string message() const;
};

struct VerifyReport {
  std::filesystem::path dir;
  std::int64_t files = 0;
  std::int64_t bytes = 0;                // read and found right
  std::vector<Damage> damages;           // in the order of the manifest's files
  std::vector<std::string> extra_files;  // in the folder but not of the checkpoint; no damage

  bool ok() const { return damages.empty(); }
};

// Reads all of a checkpoint, one file per unit of the pool: sizes and XXH3-128 of the shards and
// the index, the manifest's own checksum. In a damaged shard the tensors whose bytes are wrong are
// named. Throws Error only for what says nothing about the checkpoint (no descriptors, no
// permission).
VerifyReport verify_checkpoint(const std::filesystem::path& dir, ThreadPool& pool);

// Folders under `root` with the name of a checkpoint, whole or not, the newest first.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& root);

struct Skipped {
  std::filesystem::path path;
  std::string reason;  // one line: the first damage, and how many there are
};

struct Restored {
  std::optional<CheckpointInfo> checkpoint;  // nothing: start from the beginning
  std::vector<Skipped> skipped;              // newer ones that do not verify, the newest first
};

// The newest checkpoint that verifies.
Restored find_restorable(const std::filesystem::path& root, ThreadPool& pool);

}  // namespace talaria::storage
