// SPDX-License-Identifier: Apache-2.0
// Reads boxes out of a checkpoint, of any layout into any other. It reads the shards' bytes where
// the manifest says they lie, one file at a time, so it needs few file descriptors and never takes
// a fill value for data.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "parallel/box.h"
#include "storage/checkpoint/manifest.h"

namespace talaria::storage {

class CheckpointReader {
 public:
  // Reads the manifest; throws Error saying what is wrong with it. Files are not verified: use
  // find_restorable or verify_checkpoint first.
  explicit CheckpointReader(std::filesystem::path dir);
  CheckpointReader(const CheckpointReader&) = delete;
  CheckpointReader& operator=(const CheckpointReader&) = delete;

  const Manifest& manifest() const { return manifest_; }
  // The tensor, or nullptr.
  const TensorRecord* find(const std::string& group, const std::string& tensor) const;

  // Fills every box's `data` with the tensor's elements. Throws Error naming the tensor for an
  // unknown one, another global shape, or elements that no shard holds; naming the file for a
  // failed or short read. Other objects of this class may read at the same time.
  void read(const std::string& group, std::span<const parallel::NamedBox> boxes) const;

 private:
  struct Stored {
    std::size_t shard;
    const ShardBox* box;
  };
  std::filesystem::path dir_;
  Manifest manifest_;
  std::map<std::string, std::vector<Stored>> stored_;  // by full name
};

// The group of averaged weights that a run hands on in the place of "param".
inline constexpr const char* kAveragedGroup = "ema_param";

// The group of the weights that a checkpoint hands on.
std::string weights_group(const CheckpointReader& reader);

}  // namespace talaria::storage
