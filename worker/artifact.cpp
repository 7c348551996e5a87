// SPDX-License-Identifier: Apache-2.0
#include "worker/artifact.h"

#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

std::string text_of(const json::value& value) { return std::string(value.as_string()); }

Artifact parse(const json::value& value) {
  Artifact artifact;
  artifact.kind = text_of(value.at("kind"));
  artifact.checkpoint = text_of(value.at("checkpoint"));
  artifact.step = value.at("step").to_number<std::int64_t>();
  artifact.weights_hash = text_of(value.at("weights_hash"));
  for (const auto& [name, number] : value.at("metrics").as_object()) {
    artifact.metrics[std::string(name)] = number.to_number<double>();
  }
  const json::value& lineage = value.at("lineage");
  artifact.data = text_of(lineage.at("data"));
  artifact.job_hash = text_of(lineage.at("job"));
  artifact.origins = parse_origins(lineage.at("start"));
  return artifact;
}

}  // namespace

json::value to_json(const std::vector<Origin>& origins) {
  json::array all;
  for (const Origin& origin : origins) {
    all.push_back(json::object{{"role", origin.role},
                               {"checkpoint", origin.checkpoint},
                               {"step", origin.step},
                               {"weights_hash", origin.weights_hash}});
  }
  return all;
}

std::vector<Origin> parse_origins(const json::value& value) {
  std::vector<Origin> origins;
  for (const json::value& origin : value.as_array()) {
    origins.push_back({text_of(origin.at("role")), text_of(origin.at("checkpoint")),
                       origin.at("step").to_number<std::int64_t>(),
                       text_of(origin.at("weights_hash"))});
  }
  return origins;
}

void write_artifact(const fs::path& run, const Artifact& artifact) {
  json::object metrics;
  for (const auto& [name, value] : artifact.metrics) {
    if (std::isfinite(value)) metrics[name] = value;
  }
  const json::object all = {{"kind", artifact.kind},
                            {"checkpoint", artifact.checkpoint},
                            {"step", artifact.step},
                            {"weights_hash", artifact.weights_hash},
                            {"metrics", metrics},
                            {"lineage", json::object{{"data", artifact.data},
                                                     {"job", artifact.job_hash},
                                                     {"start", to_json(artifact.origins)}}}};
  write_file_atomic(run / kArtifactName, json::serialize(all) + "\n");
}

std::optional<Artifact> read_artifact(const fs::path& run) {
  const fs::path path = run / kArtifactName;
  if (!fs::exists(path)) return std::nullopt;
  try {
    return parse(json::parse(read_file(path)));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("{}: {}; remove it and run the stage again", path.string(), error.what());
  }
}

}  // namespace talaria::worker
