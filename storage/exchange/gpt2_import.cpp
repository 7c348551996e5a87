// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/gpt2_files.h"
#include "storage/exchange/safetensors.h"

namespace talaria::storage {
namespace {

constexpr std::int64_t kMostConfigBytes = 1 << 20;
constexpr std::int64_t kTile = 32;

using Entry = TensorFolder::Entry;

std::string list(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

[[noreturn]] void refuse(const Entry& entry, const std::string& what) {
  fail_usage("{}: tensor {}: {}", one_line(entry.file->path()), in_quotes(entry.tensor->name),
             what);
}

class Importer {
 public:
  explicit Importer(const std::filesystem::path& folder)
      : folder_(one_line(folder.string())),
        shape_(parse_gpt2_config(read_bounded(folder / "config.json", kMostConfigBytes),
                                 (folder / "config.json").string())),
        tensors_(folder),
        wanted_(gpt2_tensors(shape_)) {
    const std::string with_prefix = std::string(kGpt2Prefix) + wanted_[0].theirs;
    if (tensors_.tensors().contains(with_prefix)) prefix_ = kGpt2Prefix;
  }

  ImportedGpt2 run() {
    find_all();
    refuse_unknown();
    ImportedGpt2 model;
    model.shape = shape_;
    std::set<std::string> types;
    std::int64_t total = 0;
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      total += wanted_[i].global[0] * wanted_[i].global[1];
      types.insert(std::string(name_of(found_[i].file->element_type(*found_[i].tensor))));
    }
    model.dtypes = fmt::format("{}", fmt::join(types, ", "));
    // The files hold as many elements: the number is no promise of config.json alone.
    model.values.resize(static_cast<std::size_t>(total));
    model.group.group = "param";
    float* data = model.values.data();
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const Gpt2Tensor& tensor = wanted_[i];
      read(tensor, found_[i], data);
      model.group.boxes.push_back({tensor.name,
                                   tensor.global,
                                   tensor.vector,
                                   {{0, 0}, tensor.global},
                                   data,
                                   tensor.hash_columns});
      data += tensor.global[0] * tensor.global[1];
    }
    return model;
  }

 private:
  // Every tensor of the model is there with the shape that config.json says.
  void find_all() {
    for (const Gpt2Tensor& tensor : wanted_) {
      const auto found = tensors_.tensors().find(prefix_ + tensor.theirs);
      if (found == tensors_.tensors().end()) {
        fail_usage("{}: tensor {} is missing; config.json says {} layers", folder_,
                   in_quotes(prefix_ + tensor.theirs), shape_.layers);
      }
      if (found->second.tensor->shape != tensor.their_shape) {
        refuse(found->second,
               fmt::format("shape {}; config.json says {}", list(found->second.tensor->shape),
                           list(tensor.their_shape)));
      }
      found_.push_back(found->second);
    }
  }

  void refuse_unknown() const {
    std::set<std::string> known;
    for (const Gpt2Tensor& tensor : wanted_) known.insert(prefix_ + tensor.theirs);
    for (const auto& [name, entry] : tensors_.tensors()) {
      if (known.contains(name)) continue;
      if (name == kGpt2Head) {
        check_head(entry);
      } else if (!name.starts_with(prefix_) ||
                 !is_gpt2_mask(std::string_view(name).substr(prefix_.size()), shape_.layers)) {
        refuse(entry, fmt::format("not of a GPT-2 with {} layers and a tied head", shape_.layers));
      }
    }
  }

  // tok_embed is the head too, so another head would be lost.
  void check_head(const Entry& head) const {
    const Entry& table = found_[0];
    const auto ours = table.file->bytes_of(*table.tensor);
    const auto theirs = head.file->bytes_of(*head.tensor);
    const bool same = head.tensor->dtype == table.tensor->dtype &&
                      head.tensor->shape == table.tensor->shape &&
                      std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end());
    if (!same) {
      refuse(head, fmt::format("differs from {}; allowed: a head tied to it, bit for bit",
                               in_quotes(table.tensor->name)));
    }
  }

  static void read(const Gpt2Tensor& tensor, const Entry& from, float* to) {
    const ElementType type = from.file->element_type(*from.tensor);
    const std::byte* bytes = from.file->bytes_of(*from.tensor).data();
    const std::int64_t rows = tensor.global[0];
    const std::int64_t columns = tensor.global[1];
    if (!tensor.transposed) {
      widen(type, bytes + tensor.first * size_of(type),
            {to, static_cast<std::size_t>(rows * columns)});
      return;
    }
    // A few of their rows at a time, so that ours are written in runs.
    const std::int64_t width = tensor.their_shape[1];
    std::vector<float> tile(static_cast<std::size_t>(kTile * rows));
    for (std::int64_t first = 0; first < columns; first += kTile) {
      const std::int64_t count = std::min(kTile, columns - first);
      for (std::int64_t i = 0; i < count; ++i) {
        widen(type, bytes + ((first + i) * width + tensor.first) * size_of(type),
              {tile.data() + i * rows, static_cast<std::size_t>(rows)});
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t i = 0; i < count; ++i) {
          to[row * columns + first + i] = tile[static_cast<std::size_t>(i * rows + row)];
        }
      }
    }
  }

  std::string folder_;
  Gpt2Shape shape_;
  TensorFolder tensors_;
  std::vector<Gpt2Tensor> wanted_;
  std::vector<Entry> found_;  // beside wanted_
  std::string prefix_;
};

}  // namespace

ImportedGpt2 import_gpt2(const std::filesystem::path& folder) { return Importer(folder).run(); }

}  // namespace talaria::storage
