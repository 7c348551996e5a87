// SPDX-License-Identifier: Apache-2.0
// Saving and keeping checkpoints. One save, in order:
//   rank 0      temporary = begin_checkpoint(ref)      the path goes to all ranks
//   every rank  record = write_shard(temporary, ...)   one line; rank 0 gathers them
//   rank 0      commit_checkpoint(ref, temporary, records, meta); prune_checkpoints(root, keep,
//   pool)
// Until commit's rename nothing looks like a checkpoint; after it everything is on stable storage.
// Whatever throws here ends the attempt: a new one starts from find_restorable (verify.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cluster/base/thread_pool.h"
#include "parallel/box.h"
#include "storage/checkpoint/direct_writer.h"
#include "storage/checkpoint/disk.h"
#include "storage/checkpoint/manifest.h"

namespace talaria::storage {

// The boxes that this rank holds of the tensors of one group: "param", "adam_m" or "adam_v", and
// with a further model its own, "value_param". Those of all ranks tile every tensor exactly once;
// empty boxes are left out.
struct BoxGroup {
  std::string group;
  std::vector<parallel::NamedBox> boxes;
};

struct CheckpointRef {
  std::filesystem::path root;  // the run's checkpoints/ folder
  std::int64_t step = 0;
  int attempt = 1;

  std::filesystem::path final_path() const { return root / step_name(step); }
};

struct CheckpointInfo {
  std::filesystem::path path;
  std::int64_t step = 0;
  int attempt = 0;
  int world = 0;
  std::int64_t bytes = 0;
  std::string weights_hash;
};

// Rank 0. Makes the temporary folder, `root` with it, and removes temporary folders that this or an
// older attempt left behind. Throws Error or DiskFull; Error also when a newer attempt has begun
// (fence.h), here and in commit_checkpoint.
std::filesystem::path begin_checkpoint(const CheckpointRef& ref);

// Every rank, when begin_checkpoint has returned. Writes and syncs this rank's shard and returns
// its record. Throws Error naming tensor or file, and DiskFull; then its file is gone, after
// DiskFull the whole temporary folder, which the other ranks then miss and say.
std::string write_shard(const std::filesystem::path& temporary, int rank, int world,
                        std::span<const BoxGroup> groups, const WriteOptions& options = {});

// Rank 0, when every rank has its record. Checks that the boxes tile every tensor, writes index.h5,
// then manifest.json with `meta_json` (one JSON object; what must come back to the last bit should
// be integers or strings), renames the folder to its final name, syncs the parent. Replaces a
// checkpoint of the same step. Throws Error or DiskFull; then the temporary folder is gone.
void commit_checkpoint(const CheckpointRef& ref, const std::filesystem::path& temporary,
                       std::span<const std::string> shard_records, const std::string& meta_json);

// Committed checkpoints, the newest first: folders of the right name whose manifest matches its own
// checksum. Files are not read. A missing root has none.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& root);

// Removes the checkpoints beyond the `keep` (>= 1) newest, but never that of step `also` (-1: none)
// and never the newest that verifies: it reads kept ones until one does. Returns what it removed.
std::vector<std::filesystem::path> prune_checkpoints(const std::filesystem::path& root,
                                                     std::int64_t keep, ThreadPool& pool,
                                                     std::int64_t also = -1);

// The weights_hash of a checkpoint with these tensors: over the group "param" only.
std::string weights_hash(std::span<const TensorRecord> tensors);

// "shard-00003-of-00008.h5".
std::string shard_name(int rank, int world);

}  // namespace talaria::storage
