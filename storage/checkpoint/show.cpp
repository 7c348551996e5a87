// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/show.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include <boost/json.hpp>

namespace talaria::storage {
namespace {

namespace json = boost::json;

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

json::array shape_of(const TensorRecord& tensor) {
  if (tensor.vector) return {tensor.global[0]};
  return {tensor.global[0], tensor.global[1]};
}

std::string shape_text(const TensorRecord& tensor) {
  if (tensor.vector) return fmt::format("[{}]", tensor.global[0]);
  return fmt::format("[{}, {}]", tensor.global[0], tensor.global[1]);
}

struct Statistics {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  std::int64_t finite = 0;
  std::int64_t others = 0;
};

Statistics statistics(const std::vector<float>& values) {
  Statistics s;
  for (const float value : values) {
    if (!std::isfinite(value)) {
      ++s.others;
      continue;
    }
    ++s.finite;
    s.low = std::min(s.low, static_cast<double>(value));
    s.high = std::max(s.high, static_cast<double>(value));
    s.sum += value;
  }
  return s;
}

// JSON has no nan and inf: they become null, and are counted under "non_finite".
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.9g}", value) : "null";
}

std::string tensor_json(const TensorRecord& tensor, const std::vector<float>& values,
                        const Statistics& s) {
  std::string text = fmt::format(
      "{{\"tensor\":\"{}\",\"shape\":{},\"hash\":\"{}\",\"min\":{},\"max\":{},\"mean\":{},"
      "\"non_finite\":{},\"values\":[",
      tensor.full_name(), json::serialize(shape_of(tensor)), tensor.hash.hex(), number(s.low),
      number(s.high), number(s.sum / static_cast<double>(s.finite)), s.others);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ',';
    text += number(values[i]);
  }
  return text + "]}\n";
}

std::string tensor_text(const TensorRecord& tensor, const std::vector<float>& values,
                        const Statistics& s) {
  std::string text =
      fmt::format("{}  {}  hash {} (matches)\nmin {}  max {}  mean {}  not finite {}\n",
                  tensor.full_name(), shape_text(tensor), tensor.hash.hex(), number(s.low),
                  number(s.high), number(s.sum / static_cast<double>(s.finite)), s.others);
  const std::int64_t columns = std::min<std::int64_t>(tensor.global[1], 6);
  const std::int64_t rows = std::min<std::int64_t>(tensor.global[0], tensor.vector ? 8 : 4);
  for (std::int64_t row = 0; row < rows; ++row) {
    text += fmt::format("{:>8}:", row);
    for (std::int64_t column = 0; column < columns; ++column) {
      text += fmt::format(" {:>14.7g}",
                          values[static_cast<std::size_t>(row * tensor.global[1] + column)]);
    }
    text += columns < tensor.global[1] ? " ...\n" : "\n";
  }
  if (rows < tensor.global[0])
    text += fmt::format("     ... {} more rows\n", tensor.global[0] - rows);
  return text;
}

json::object report_json(const VerifyReport& report) {
  json::array damages;
  for (const Damage& damage : report.damages) {
    json::object item = {{"file", damage.file.filename().string()}};
    item["tensor"] = damage.tensor.empty() ? json::value() : json::value(damage.tensor);
    item["what"] = damage.what;
    damages.push_back(std::move(item));
  }
  json::array extra(report.extra_files.begin(), report.extra_files.end());
  return {{"path", report.dir.string()},   {"ok", report.ok()},
          {"files", report.files},         {"bytes", report.bytes},
          {"damages", std::move(damages)}, {"extra_files", std::move(extra)}};
}

}  // namespace

std::string describe_list(const std::vector<CheckpointInfo>& checkpoints, bool as_json) {
  if (as_json) {
    json::array items;
    for (const CheckpointInfo& info : checkpoints) {
      items.push_back({{"path", info.path.string()},
                       {"step", info.step},
                       {"attempt", info.attempt},
                       {"world", info.world},
                       {"bytes", info.bytes},
                       {"weights_hash", info.weights_hash}});
    }
    return json::serialize(items) + "\n";
  }
  std::string text = fmt::format("{:>10}  {:>7}  {:>5}  {:>12}  {:<32}  path\n", "step", "attempt",
                                 "ranks", "size", "weights_hash");
  for (const CheckpointInfo& info : checkpoints) {
    text += fmt::format("{:>10}  {:>7}  {:>5}  {:>12}  {:<32}  {}\n", info.step, info.attempt,
                        info.world, megabytes(info.bytes), info.weights_hash, info.path.string());
  }
  return text;
}

std::string describe_checkpoint(const std::filesystem::path& dir, const Manifest& manifest,
                                bool as_json) {
  if (as_json) {
    json::array tensors;
    for (const TensorRecord& tensor : manifest.tensors) {
      tensors.push_back({{"tensor", tensor.full_name()},
                         {"shape", shape_of(tensor)},
                         {"hash", tensor.hash.hex()}});
    }
    json::array shards;
    for (const ShardRecord& shard : manifest.shards) {
      shards.push_back(
          {{"file", shard.file}, {"size", shard.size}, {"xxh3_128", shard.hash.hex()}});
    }
    return json::serialize(json::object{{"path", dir.string()},
                                        {"step", manifest.step},
                                        {"attempt", manifest.attempt},
                                        {"world", manifest.world},
                                        {"bytes", manifest.bytes()},
                                        {"weights_hash", manifest.weights_hash},
                                        {"hdf5", manifest.hdf5_version},
                                        {"tensors", std::move(tensors)},
                                        {"shards", std::move(shards)},
                                        {"meta", json::parse(manifest.meta_json)}}) +
           "\n";
  }
  std::string text = fmt::format(
      "{}\nstep {}  attempt {}  ranks {}  size {}  HDF5 {}\nweights_hash {}\nmeta {}\n",
      dir.string(), manifest.step, manifest.attempt, manifest.world, megabytes(manifest.bytes()),
      manifest.hdf5_version, manifest.weights_hash, manifest.meta_json);
  for (const TensorRecord& tensor : manifest.tensors) {
    text += fmt::format("{:<44} {:>16}  {}\n", tensor.full_name(), shape_text(tensor),
                        tensor.hash.hex());
  }
  return text;
}

std::string describe_tensor(const CheckpointReader& reader, const std::string& name, bool as_json) {
  const std::size_t slash = name.find('/');
  const std::string group = slash == std::string::npos ? "param" : name.substr(0, slash);
  const std::string plain = slash == std::string::npos ? name : name.substr(slash + 1);
  const TensorRecord* tensor = reader.find(group, plain);
  if (tensor == nullptr) {
    fail_usage("--tensor {}: the checkpoint has no tensor {}/{}; `checkpoint show DIR` lists them",
               name, group, plain);
  }
  std::vector<float> values(static_cast<std::size_t>(tensor->global[0] * tensor->global[1]));
  const parallel::NamedBox box{plain,          tensor->global,
                               tensor->vector, {{0, 0}, tensor->global},
                               values.data(),  tensor->hash_columns};
  reader.read(group, std::span(&box, 1));
  if (box_hash(box, tensor->hash_columns) != tensor->hash) {
    fail(
        "tensor {}: its bytes differ from what was written; `checkpoint verify DIR` names the file",
        tensor->full_name());
  }
  const Statistics s = statistics(values);
  return as_json ? tensor_json(*tensor, values, s) : tensor_text(*tensor, values, s);
}

std::string describe_verification(const std::vector<VerifyReport>& reports, double seconds,
                                  bool as_json) {
  if (as_json) {
    json::array items;
    for (const VerifyReport& report : reports) items.push_back(report_json(report));
    const bool ok =
        std::all_of(reports.begin(), reports.end(), [](const auto& r) { return r.ok(); });
    return json::serialize(
               json::object{{"ok", ok}, {"seconds", seconds}, {"checkpoints", std::move(items)}}) +
           "\n";
  }
  std::string text;
  for (const VerifyReport& report : reports) {
    text += fmt::format("{}: {}, {} files, {} right\n", report.dir.string(),
                        report.ok() ? "ok" : "DAMAGED", report.files, megabytes(report.bytes));
    for (const Damage& damage : report.damages) text += "  " + damage.message() + "\n";
    for (const std::string& extra : report.extra_files) {
      text += fmt::format("  note: {} does not belong to the checkpoint\n", extra);
    }
  }
  return text;
}

}  // namespace talaria::storage
