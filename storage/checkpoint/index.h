// SPDX-License-Identifier: Apache-2.0
// index.h5: every logical tensor as one virtual dataset over the shards' boxes, for h5py, h5dump
// and other readers. Talaria itself reads shards through the manifest (reader.h).
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "storage/checkpoint/manifest.h"

namespace talaria::storage {

// Writes and syncs the index beside the shards, which it names relative to itself; HDF5 then opens
// it again and must find every tensor. Throws Error or DiskFull.
FileRecord write_index(const std::filesystem::path& path, std::span<const TensorRecord> tensors,
                       std::span<const ShardRecord> shards);

// The HDF5 library in use: "1.10.8".
std::string hdf5_version();

}  // namespace talaria::storage
