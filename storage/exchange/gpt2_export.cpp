// SPDX-License-Identifier: Apache-2.0
// A checkpoint's weights as safetensors. Theirs are made one after the other in bands of rows, so
// memory does not grow with the model.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fcntl.h>
#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "storage/checkpoint/disk.h"
#include "storage/exchange/gpt2_files.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBandBytes = 32LL << 20;

// One of theirs: the run of ours that it is made of.
struct TheirTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const Gpt2Tensor> parts;

  std::int64_t rows() const { return shape.size() == 1 ? 1 : shape[0]; }
  std::int64_t columns() const { return shape.back(); }
  std::int64_t bytes(ElementType type) const { return rows() * columns() * size_of(type); }
};

std::vector<TheirTensor> their_tensors(std::span<const Gpt2Tensor> ours) {
  std::vector<TheirTensor> all;
  for (std::size_t i = 0; i < ours.size();) {
    std::size_t end = i + 1;
    while (end < ours.size() && ours[end].theirs == ours[i].theirs) ++end;
    all.push_back(
        {std::string(kGpt2Prefix) + ours[i].theirs, ours[i].their_shape, ours.subspan(i, end - i)});
    i = end;
  }
  return all;
}

// Tensors in order, as many in a shard as fit; one that is larger alone has its own.
std::vector<std::span<const TheirTensor>> cut_shards(std::span<const TheirTensor> tensors,
                                                     ElementType type, std::int64_t most) {
  std::vector<std::span<const TheirTensor>> shards;
  std::size_t begin = 0;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t more = tensors[i].bytes(type);
    if (i > begin && bytes > most - more) {
      shards.push_back(tensors.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += more;
  }
  shards.push_back(tensors.subspan(begin));
  return shards;
}

// Length and JSON; the data begins at a multiple of 8.
std::string header_of(std::span<const TheirTensor> tensors, ElementType type) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  std::int64_t offset = 0;
  for (const TheirTensor& tensor : tensors) {
    const std::int64_t end = offset + tensor.bytes(type);
    json += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        tensor.name, name_of(type), fmt::join(tensor.shape, ","), offset, end);
    offset = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string header(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> (8 * i) & 0xFF);
  return header + json;
}

class ShardExporter {
 public:
  ShardExporter(const CheckpointReader& reader, ElementType type, const fs::path& path)
      : reader_(reader),
        type_(type),
        path_(path),
        fd_(open_file(path, O_WRONLY | O_CREAT | O_EXCL)) {}

  void write(std::span<const TheirTensor> tensors) {
    const std::string header = header_of(tensors, type_);
    std::int64_t size = static_cast<std::int64_t>(header.size());
    for (const TheirTensor& tensor : tensors) size += tensor.bytes(type_);
    preallocate(fd_.get(), size, path_);
    write_all(fd_.get(), std::as_bytes(std::span(header)), path_);
    for (const TheirTensor& tensor : tensors) write_tensor(tensor);
    sync_file(fd_.get(), path_);
  }

 private:
  void write_tensor(const TheirTensor& tensor) {
    const std::int64_t row_bytes = tensor.columns() * std::int64_t{sizeof(float)};
    const std::int64_t band = std::max<std::int64_t>(1, kBandBytes / row_bytes);
    for (std::int64_t row = 0; row < tensor.rows(); row += band) {
      const std::int64_t count = std::min(band, tensor.rows() - row);
      band_.resize(static_cast<std::size_t>(count * tensor.columns()));
      for (const Gpt2Tensor& part : tensor.parts) fill(part, tensor.columns(), row, count);
      narrowed_.resize(band_.size() * static_cast<std::size_t>(size_of(type_)));
      if (const auto lost = narrow(type_, band_, narrowed_.data())) {
        fail_usage("tensor {}: {} does not fit into {}; allowed: --dtype bf16 or f32", tensor.name,
                   band_[*lost], name_of(type_));
      }
      write_all(fd_.get(), narrowed_, path_);
    }
  }

  // The part's columns of rows [row, row + count) of the band.
  void fill(const Gpt2Tensor& part, std::int64_t columns, std::int64_t row, std::int64_t count) {
    if (!part.transposed) {
      const parallel::Box box = part.vector ? parallel::Box{{0, 0}, part.global}
                                            : parallel::Box{{row, 0}, {count, columns}};
      read(part, box, band_.data() + (part.vector ? part.first : 0));
      return;
    }
    const std::int64_t out = part.global[0];
    ours_.resize(static_cast<std::size_t>(out * count));
    read(part, {{0, row}, {out, count}}, ours_.data());
    constexpr std::int64_t kTile = 32;
    for (std::int64_t first = 0; first < out; first += kTile) {
      const std::int64_t last = std::min(first + kTile, out);
      for (std::int64_t i = 0; i < count; ++i) {
        float* to = band_.data() + i * columns + part.first;
        for (std::int64_t o = first; o < last; ++o) {
          to[o] = ours_[static_cast<std::size_t>(o * count + i)];
        }
      }
    }
  }

  void read(const Gpt2Tensor& part, const parallel::Box& box, float* to) {
    const parallel::NamedBox wanted = {part.name, part.global, part.vector, box, to, 0};
    reader_.read(weights_group(reader_), {&wanted, 1});
  }

  const CheckpointReader& reader_;
  ElementType type_;
  fs::path path_;
  UniqueFd fd_;
  std::vector<float> ours_;
  std::vector<float> band_;
  std::vector<std::byte> narrowed_;
};

std::string index_text(const std::map<std::string, std::string>& files, std::int64_t bytes) {
  std::string text = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n", bytes);
  text += "  \"weight_map\": {";
  const char* separator = "\n";
  for (const auto& [tensor, file] : files) {
    text += fmt::format("{}    \"{}\": \"{}\"", separator, tensor, file);
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

void write_text(const fs::path& path, const std::string& text) {
  write_new_file(path, std::as_bytes(std::span(text)));
}

}  // namespace

void check_exportable(const CheckpointReader& reader, const Gpt2Shape& shape) {
  std::map<std::string, const Gpt2Tensor*> wanted;
  const std::vector<Gpt2Tensor> tensors = gpt2_tensors(shape);
  for (const Gpt2Tensor& tensor : tensors) wanted[tensor.name] = &tensor;
  // What training keeps beside the weights stays behind; so does PPO's value network.
  const std::string group = weights_group(reader);
  const std::set<std::string> beside = {"param", "adam_m", "adam_v"};
  std::size_t found = 0;
  for (const TensorRecord& record : reader.manifest().tensors) {
    if (record.group.starts_with("value_")) continue;
    const auto tensor = wanted.find(record.name);
    if (tensor == wanted.end() || (record.group != group && !beside.contains(record.group))) {
      fail_usage(
          "tensor {}: Hugging Face's GPT-2 has no place for it; allowed: a checkpoint of a "
          "language model, without a scalar head or others' tensors",
          one_line(record.full_name()));
    }
    if (record.global != tensor->second->global || record.vector != tensor->second->vector) {
      fail_usage("tensor {}: [{}, {}], but the job file's [model] says [{}, {}]",
                 one_line(record.full_name()), record.global[0], record.global[1],
                 tensor->second->global[0], tensor->second->global[1]);
    }
    if (record.group == group) ++found;
  }
  if (found == wanted.size()) return;
  for (const Gpt2Tensor& tensor : tensors) {
    if (reader.find(group, tensor.name) == nullptr) {
      fail_usage("tensor {}/{} is missing", group, tensor.name);
    }
  }
}

void export_gpt2(const CheckpointReader& reader, const Gpt2Export& options,
                 const fs::path& folder) {
  const ElementType type = options.extras.type;
  const std::vector<Gpt2Tensor> ours = gpt2_tensors(options.shape);
  const std::vector<TheirTensor> tensors = their_tensors(ours);
  const auto shards = cut_shards(tensors, type, options.max_shard_bytes);
  write_text(folder / "config.json", gpt2_config_text(options.shape, options.extras));
  std::map<std::string, std::string> files;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    ShardExporter(reader, type, folder / name).write(shards[i]);
    for (const TheirTensor& tensor : shards[i]) {
      files[tensor.name] = name;
      bytes += tensor.bytes(type);
    }
  }
  if (shards.size() > 1) {
    write_text(folder / "model.safetensors.index.json", index_text(files, bytes));
  }
}

}  // namespace talaria::storage
