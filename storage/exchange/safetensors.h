// SPDX-License-Identifier: Apache-2.0
// Reads safetensors: 8 bytes little-endian N, N bytes of JSON, then the tensors' bytes. A file may
// come from anybody, so everything that it says about itself is checked before it is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/file.h"
#include "storage/exchange/element_type.h"

namespace talaria::storage {

inline constexpr std::int64_t kMostHeaderBytes = 100'000'000;

struct SafeTensor {
  std::string name;
  std::string dtype;  // as written: "F32", "BOOL", ...
  std::vector<std::int64_t> shape;
  std::int64_t count = 0;      // elements
  std::size_t file_begin = 0;  // of its first byte
  std::size_t bytes = 0;
};

// Judges a whole file and gives its tensors by place in the file. Their bytes lie inside it,
// without hole or overlap, count x the size of dtype each; names are unique, 1 to 256 bytes. Throws
// UsageError "FILE: byte N: ..." or "FILE: tensor "x": ..." in one line.
std::vector<SafeTensor> parse_safetensors(std::string_view bytes, const std::string& file);

// A file, mapped; what it holds is read when it is asked for. It must not shrink meanwhile.
class SafetensorsFile {
 public:
  // Throws as parse_safetensors; Error where the file cannot be read.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::vector<SafeTensor>& tensors() const { return tensors_; }
  std::span<const std::byte> bytes_of(const SafeTensor& tensor) const {
    return {map_.data() + tensor.file_begin, tensor.bytes};
  }
  // The type of a tensor that is read; throws UsageError for any other than F32, F16, BF16.
  ElementType element_type(const SafeTensor& tensor) const;

 private:
  std::string path_;
  MappedFile map_;
  std::vector<SafeTensor> tensors_;
};

// The tensors of a model's folder: model.safetensors, or the shards that
// model.safetensors.index.json names.
class TensorFolder {
 public:
  struct Entry {
    const SafetensorsFile* file = nullptr;
    const SafeTensor* tensor = nullptr;
  };

  // Throws UsageError where neither or both are there; where a shard's name is no plain name of a
  // file inside the folder; where index and shards disagree about any tensor.
  explicit TensorFolder(const std::filesystem::path& folder);
  TensorFolder(const TensorFolder&) = delete;
  TensorFolder& operator=(const TensorFolder&) = delete;

  const std::map<std::string, Entry>& tensors() const { return tensors_; }

 private:
  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index);

  std::map<std::string, SafetensorsFile> files_;  // by file name
  std::map<std::string, Entry> tensors_;
};

// The file's text; throws UsageError where it has more than `most` bytes.
std::string read_bounded(const std::filesystem::path& path, std::int64_t most);

}  // namespace talaria::storage
