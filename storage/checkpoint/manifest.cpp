// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/manifest.h"

#include <algorithm>
#include <limits>

#include <boost/json.hpp>

#include "cluster/base/file.h"

namespace talaria::storage {
namespace {

namespace json = boost::json;

constexpr std::string_view kFormat = "talaria-checkpoint";
constexpr std::string_view kChecksumKey = ",\n\"checksum\":\"";
constexpr std::string_view kTextEnd = "\"}\n";

json::array to_json(const parallel::Dims& dims) { return {dims[0], dims[1]}; }

void put_file(json::object& object, const FileRecord& record) {
  object["file"] = record.file;
  object["size"] = record.size;
  object["xxh3_128"] = record.hash.hex();
}

json::object to_json(const ShardBox& box) {
  return {{"group", box.group},
          {"tensor", box.tensor},
          {"global", to_json(box.global)},
          {"vector", box.vector},
          {"hash_columns", box.hash_columns},
          {"offset", to_json(box.box.offset)},
          {"extent", to_json(box.box.extent)},
          {"dataset", box.dataset},
          {"file_offset", box.file_offset},
          {"hash", box.hash.hex()}};
}

json::object to_json(const ShardRecord& record) {
  json::object object = {{"rank", record.rank}, {"world", record.world}};
  put_file(object, record);
  json::array boxes;
  for (const ShardBox& box : record.boxes) boxes.push_back(to_json(box));
  object["boxes"] = std::move(boxes);
  return object;
}

json::object to_json(const TensorRecord& tensor) {
  return {{"group", tensor.group},
          {"name", tensor.name},
          {"global", to_json(tensor.global)},
          {"vector", tensor.vector},
          {"hash_columns", tensor.hash_columns},
          {"hash", tensor.hash.hex()}};
}

// The getters below throw std::exception on a missing key or a wrong type; callers translate.

std::string text_at(const json::object& object, const char* key) {
  return json::value_to<std::string>(object.at(key));
}

std::int64_t integer_at(const json::object& object, const char* key) {
  return object.at(key).to_number<std::int64_t>();
}

int small_integer_at(const json::object& object, const char* key) {
  return object.at(key).to_number<int>();
}

TensorHash hash_at(const json::object& object, const char* key) {
  const auto hash = TensorHash::parse(text_at(object, key));
  if (!hash) fail("{}: not 32 hex digits", key);
  return *hash;
}

parallel::Dims dims_at(const json::object& object, const char* key) {
  const json::array& array = object.at(key).as_array();
  if (array.size() != 2) fail("{}: not two numbers", key);
  return {array.at(0).to_number<std::int64_t>(), array.at(1).to_number<std::int64_t>()};
}

void get_file(const json::object& object, FileRecord& record) {
  record.file = text_at(object, "file");
  record.size = integer_at(object, "size");
  record.hash = hash_at(object, "xxh3_128");
}

ShardBox box_from(const json::object& object) {
  ShardBox box;
  box.group = text_at(object, "group");
  box.tensor = text_at(object, "tensor");
  box.global = dims_at(object, "global");
  box.vector = object.at("vector").as_bool();
  box.hash_columns = integer_at(object, "hash_columns");
  box.box.offset = dims_at(object, "offset");
  box.box.extent = dims_at(object, "extent");
  box.dataset = text_at(object, "dataset");
  box.file_offset = integer_at(object, "file_offset");
  box.hash = hash_at(object, "hash");
  return box;
}

ShardRecord shard_from(const json::object& object) {
  ShardRecord record;
  record.rank = small_integer_at(object, "rank");
  record.world = small_integer_at(object, "world");
  get_file(object, record);
  for (const json::value& box : object.at("boxes").as_array()) {
    record.boxes.push_back(box_from(box.as_object()));
  }
  return record;
}

TensorRecord tensor_from(const json::object& object) {
  TensorRecord tensor;
  tensor.group = text_at(object, "group");
  tensor.name = text_at(object, "name");
  tensor.global = dims_at(object, "global");
  tensor.vector = object.at("vector").as_bool();
  tensor.hash_columns = integer_at(object, "hash_columns");
  tensor.hash = hash_at(object, "hash");
  return tensor;
}

Manifest manifest_from(const json::object& object) {
  if (text_at(object, "format") != kFormat) fail("format is not {}", kFormat);
  const std::int64_t version = integer_at(object, "version");
  if (version != kManifestVersion) {
    fail("format version {}, this program reads version {}", version, kManifestVersion);
  }
  Manifest manifest;
  manifest.step = integer_at(object, "step");
  manifest.attempt = small_integer_at(object, "attempt");
  manifest.world = small_integer_at(object, "world");
  manifest.weights_hash = text_at(object, "weights_hash");
  manifest.hdf5_version = text_at(object, "hdf5");
  get_file(object.at("index").as_object(), manifest.index);
  for (const json::value& tensor : object.at("tensors").as_array()) {
    manifest.tensors.push_back(tensor_from(tensor.as_object()));
  }
  for (const json::value& shard : object.at("shards").as_array()) {
    manifest.shards.push_back(shard_from(shard.as_object()));
  }
  manifest.meta_json = json::serialize(object.at("meta").as_object());
  return manifest;
}

// One element a line, so that a person can read and diff the file.
template <class Records>
std::string lines(const Records& records) {
  std::string text = "[";
  for (const auto& record : records) {
    text += text.size() == 1 ? "\n" : ",\n";
    text += json::serialize(to_json(record));
  }
  return text + "]";
}

std::string json_string(std::string_view text) { return json::serialize(json::value(text)); }

}  // namespace

std::int64_t Manifest::bytes() const {
  std::int64_t sum = index.size;
  for (const ShardRecord& shard : shards) sum += shard.size;
  return sum;
}

std::string to_json_line(const ShardRecord& record) { return json::serialize(to_json(record)); }

ShardRecord parse_shard_record(const std::string& line) {
  try {
    return shard_from(json::parse(line).as_object());
  } catch (const std::exception& error) {
    fail("shard record: {}", error.what());
  }
}

std::string to_text(const Manifest& manifest) {
  json::error_code bad;
  const json::value meta = json::parse(manifest.meta_json, bad);
  if (bad || !meta.is_object()) fail("manifest: meta_json is not one JSON object");
  json::object index;
  put_file(index, manifest.index);
  std::string text = fmt::format(
      "{{\"format\":{},\n\"version\":{},\n\"step\":{},\n\"attempt\":{},\n\"world\":{},\n"
      "\"weights_hash\":{},\n\"hdf5\":{},\n\"meta\":{},\n\"index\":{},\n\"tensors\":{},"
      "\n\"shards\":{}",
      json_string(kFormat), kManifestVersion, manifest.step, manifest.attempt, manifest.world,
      json_string(manifest.weights_hash), json_string(manifest.hdf5_version), json::serialize(meta),
      json::serialize(index), lines(manifest.tensors), lines(manifest.shards));
  const std::string hash = bytes_hash(std::as_bytes(std::span(text))).hex();
  text.append(kChecksumKey).append(hash).append(kTextEnd);
  return text;
}

Result<Manifest> parse_manifest(const std::string& text) {
  using Outcome = Result<Manifest>;
  const std::size_t tail = kChecksumKey.size() + 32 + kTextEnd.size();
  if (text.size() < tail) return Outcome::failure("cut short");
  const std::string_view body = std::string_view(text).substr(0, text.size() - tail);
  std::string end(kChecksumKey);
  end.append(bytes_hash(std::as_bytes(std::span(body))).hex()).append(kTextEnd);
  if (std::string_view(text).substr(body.size()) != end) {
    return Outcome::failure("its own checksum does not match");
  }
  try {
    return manifest_from(json::parse(text).as_object());
  } catch (const std::exception& error) {
    return Outcome::failure(error.what());
  }
}

Result<Manifest> read_manifest(const std::filesystem::path& dir) {
  using Outcome = Result<Manifest>;
  const std::filesystem::path path = dir / kManifestName;
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::not_found) return Outcome::failure("missing");
  if (kind != std::filesystem::file_type::regular) return Outcome::failure("not a regular file");
  Outcome manifest = parse_manifest(read_file(path));
  if (!manifest) return manifest;
  const std::int64_t step = parse_step_name(dir.filename().string());
  if (step >= 0 && step != manifest.value().step) {
    return Outcome::failure(
        fmt::format("of step {}, in a folder of step {}", manifest.value().step, step));
  }
  return manifest;
}

std::string step_name(std::int64_t step) { return fmt::format("step-{:08d}", step); }

std::int64_t parse_step_name(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (name.size() < kPrefix.size() + 8 || name.size() > kPrefix.size() + 18) return -1;
  if (!name.starts_with(kPrefix)) return -1;
  std::int64_t step = 0;
  for (const char c : std::string_view(name).substr(kPrefix.size())) {
    if (c < '0' || c > '9') return -1;
    step = step * 10 + (c - '0');
  }
  return step_name(step) == name ? step : -1;
}

}  // namespace talaria::storage
