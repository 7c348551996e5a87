// SPDX-License-Identifier: Apache-2.0
// index.h5: every logical tensor as one virtual dataset over the shards' boxes, for h5py, h5dump
// and other readers. Talaria itself reads shards through the manifest (reader.h).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "storage/checkpoint/manifest.h"

namespace talaria::storage {

// The bytes of the index; sources are named relative to it. Throws Error.
std::vector<std::byte> make_index(std::span<const TensorRecord> tensors,
                                  std::span<const ShardRecord> shards);

// The HDF5 library in use: "1.10.8".
std::string hdf5_version();

}  // namespace talaria::storage
