// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says about itself: manifest.json, and the record of each shard that becomes a
// line of it. The text ends in its own checksum, so any changed byte is seen. Format:
// docs/checkpoint-format.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cluster/base/error.h"
#include "parallel/box.h"
#include "storage/checkpoint/tensor_hash.h"

namespace talaria::storage {

inline constexpr std::int64_t kManifestVersion = 1;
inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kIndexName = "index.h5";

// A box of a tensor in a shard: box.count() little-endian f32 at `file_offset`, row-major.
struct ShardBox {
  std::string group;   // "param", "adam_m", "adam_v"
  std::string tensor;  // "blocks.3.attn.q.weight"
  parallel::Dims global = {0, 0};
  bool vector = false;
  std::int64_t hash_columns = 0;  // never 0
  parallel::Box box;
  std::string dataset;  // "/param/blocks.3.attn.q.weight@0,64"
  std::int64_t file_offset = 0;
  TensorHash hash;  // this box's part of the tensor's hash

  std::int64_t bytes() const { return box.count() * std::int64_t{sizeof(float)}; }
  // "param/blocks.3.attn.q.weight", the name in messages.
  std::string full_name() const { return group + "/" + tensor; }
};

struct FileRecord {
  std::string file;  // name inside the checkpoint's folder
  std::int64_t size = 0;
  TensorHash hash;  // XXH3-128 of all its bytes
};

struct ShardRecord : FileRecord {
  int rank = 0;
  int world = 0;
  std::vector<ShardBox> boxes;  // ascending file_offset
};

struct TensorRecord {
  std::string group;
  std::string name;
  parallel::Dims global = {0, 0};
  bool vector = false;
  std::int64_t hash_columns = 0;
  TensorHash hash;

  std::string full_name() const { return group + "/" + name; }
};

struct Manifest {
  std::int64_t step = 0;
  int attempt = 0;
  int world = 0;
  std::string weights_hash;  // over the group "param"
  std::string hdf5_version;
  FileRecord index;
  std::vector<TensorRecord> tensors;  // by group, then name
  std::vector<ShardRecord> shards;    // by rank
  std::string meta_json = "{}";       // the worker's object, as JSON text

  // Bytes of all shards and the index.
  std::int64_t bytes() const;
};

// One line of JSON, and back; parse throws Error for text that to_json_line did not make.
std::string to_json_line(const ShardRecord& record);
ShardRecord parse_shard_record(const std::string& line);

// The whole file's text, checksum included. Throws Error when meta_json is not one JSON object.
std::string to_text(const Manifest& manifest);

// Fails, saying why, for text that is damaged, cut, or of a newer format.
Result<Manifest> parse_manifest(const std::string& text);

// Reads DIR/manifest.json. Fails when it is missing or damaged, or of another step than the
// folder's name says.
Result<Manifest> read_manifest(const std::filesystem::path& dir);

// Checks that ranks 0 .. world - 1 gave one record each and that their boxes tile every tensor
// exactly once; gives the tensors, by group, then name, with their summed hashes. Throws Error
// naming tensor and box.
std::vector<TensorRecord> join_tensors(std::span<const ShardRecord> shards);

// "step-00001000"; and the step of such a name, -1 for any other name.
std::string step_name(std::int64_t step);
std::int64_t parse_step_name(const std::string& name);

}  // namespace talaria::storage
