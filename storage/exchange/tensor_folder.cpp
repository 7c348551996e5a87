// SPDX-License-Identifier: Apache-2.0
// A model's safetensors, in one file or in shards with an index.
#include <algorithm>
#include <system_error>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/json_reader.h"
#include "storage/exchange/safetensors.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

std::string shown(const fs::path& path) { return one_line(path.string()); }

[[noreturn]] void fail_missing(const fs::path& folder) {
  if (is_there(folder / "pytorch_model.bin") || is_there(folder / "pytorch_model.bin.index.json")) {
    fail_usage(
        "{}: has pytorch_model.bin, which runs code when it is read; allowed: safetensors (open it "
        "with transformers and call save_pretrained)",
        shown(folder));
  }
  fail_usage("{}: has neither {} nor {}; name the folder of a model of Hugging Face", shown(folder),
             kSingle, kIndex);
}

// A shard is a file of the folder itself, not what a name or a link leads to.
void check_plain(const fs::path& folder, const std::string& name, const fs::path& index) {
  const bool plain = !name.empty() && name.size() <= 255 && name[0] != '.' &&
                     name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  if (!plain) {
    fail_usage("{}: the file name {}; allowed: a plain name of a file in {}", shown(index),
               in_quotes(name), shown(folder));
  }
  const fs::path path = folder / name;
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    const fs::path home = fs::canonical(folder);
    const fs::path target = fs::canonical(path, error);
    if (error || target.parent_path() != home) {
      fail_usage("{}: a link that leads out of its folder; copy the model with `cp -rL` first",
                 shown(path));
    }
  }
  if (!fs::is_regular_file(path, error)) {
    fail_usage("{}: no such file, but {} names it", shown(path), kIndex);
  }
}

// Tensor -> file name, as the index says.
std::map<std::string, std::string> read_index(const fs::path& path) {
  std::map<std::string, std::string> files;
  bool has_map = false;
  read_json(read_bounded(path, kMostHeaderBytes), path.string(), 0, [&](JsonReader& json) {
    json.object([&](const std::string& key, std::size_t) {
      if (key != "weight_map") {
        json.skip();
        return;
      }
      has_map = true;
      json.object([&](const std::string& tensor, std::size_t) { files[tensor] = json.string(); });
    });
  });
  if (!has_map || files.empty()) {
    fail_usage("{}: no weight_map, which tells the file of each tensor", shown(path));
  }
  return files;
}

}  // namespace

std::string read_bounded(const fs::path& path, std::int64_t most) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    fail_usage("{}: no such file", shown(path));
  }
  const MappedFile file(path);
  if (file.size() > static_cast<std::size_t>(most)) {
    fail_usage("{}: {} bytes; allowed: at most {}", shown(path), file.size(), most);
  }
  return std::string(file.text());
}

TensorFolder::TensorFolder(const fs::path& folder) {
  const fs::path single = folder / kSingle;
  const fs::path index = folder / kIndex;
  const bool has_single = is_there(single);
  const bool has_index = is_there(index);
  if (has_single && has_index) {
    fail_usage("{}: has both {} and {}; remove the one that is not meant", shown(folder), kSingle,
               kIndex);
  }
  if (has_index) {
    open_shards(folder, index);
    return;
  }
  if (!has_single) fail_missing(folder);
  std::error_code error;
  if (!fs::is_regular_file(single, error)) fail_usage("{}: not a regular file", shown(single));
  const SafetensorsFile& file = files_.try_emplace(kSingle, single).first->second;
  for (const SafeTensor& tensor : file.tensors()) tensors_[tensor.name] = {&file, &tensor};
}

void TensorFolder::open_shards(const fs::path& folder, const fs::path& index) {
  const std::map<std::string, std::string> names = read_index(index);
  for (const auto& [tensor, name] : names) {
    if (files_.contains(name)) continue;
    check_plain(folder, name, index);
    files_.try_emplace(name, folder / name);
  }
  for (const auto& [name, file] : files_) {
    for (const SafeTensor& tensor : file.tensors()) {
      const auto said = names.find(tensor.name);
      if (said == names.end()) {
        fail_usage("{}: tensor {} is in {}, but not in the index", shown(index),
                   in_quotes(tensor.name), shown(name));
      }
      if (said->second != name) {
        fail_usage("{}: tensor {} is in {}, but the index says {}", shown(index),
                   in_quotes(tensor.name), shown(name), in_quotes(said->second));
      }
      tensors_[tensor.name] = {&file, &tensor};
    }
  }
  for (const auto& [tensor, name] : names) {
    if (tensors_.contains(tensor)) continue;
    fail_usage("{}: tensor {} is not in {}, where the index says it is", shown(index),
               in_quotes(tensor), shown(name));
  }
}

}  // namespace talaria::storage
