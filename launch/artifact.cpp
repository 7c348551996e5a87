// SPDX-License-Identifier: Apache-2.0
#include "launch/artifact.h"

#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/artifact_json.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

std::string text_of(const json::value& value) { return std::string(value.as_string()); }

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

json::value to_json(const Artifact& artifact) {
  json::object metrics;
  for (const auto& [name, value] : artifact.metrics) {
    if (std::isfinite(value)) metrics[name] = value;
  }
  return json::object{{"kind", artifact.kind},
                      {"checkpoint", artifact.checkpoint},
                      {"step", artifact.step},
                      {"weights_hash", artifact.weights_hash},
                      {"metrics", metrics},
                      {"lineage", json::object{{"data", artifact.data},
                                               {"job", artifact.job_hash},
                                               {"start", to_json(artifact.origins)}}}};
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

Artifact parse_artifact(const json::value& value) {
  Artifact artifact;
  artifact.kind = text_of(value.at("kind"));
  artifact.checkpoint = text_of(value.at("checkpoint"));
  artifact.step = value.at("step").to_number<std::int64_t>();
  artifact.weights_hash = text_of(value.at("weights_hash"));
  for (const auto& [name, number] : value.at("metrics").as_object()) {
    const auto read = number.to_number<double>();
    if (!std::isfinite(read)) fail("metric {} is not finite", std::string_view(name));
    artifact.metrics[std::string(name)] = read;
  }
  const json::value& lineage = value.at("lineage");
  artifact.data = text_of(lineage.at("data"));
  artifact.job_hash = text_of(lineage.at("job"));
  artifact.origins = parse_origins(lineage.at("start"));
  return artifact;
}

std::string to_text(const Artifact& artifact) { return json::serialize(to_json(artifact)) + "\n"; }

Artifact parse_artifact(const std::string& text) {
  try {
    return parse_artifact(json::parse(text));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("no artifact of a run ({})", error.what());
  }
}

void write_artifact(const fs::path& run, const Artifact& artifact) {
  write_file_atomic(run / kArtifactName, to_text(artifact));
}

std::optional<Artifact> read_artifact(const fs::path& run) {
  const fs::path path = run / kArtifactName;
  if (!fs::exists(path)) return std::nullopt;
  const std::string text = read_file(path);
  try {
    return parse_artifact(text);
  } catch (const Error& error) {
    fail("{}: {}; remove it and run the stage again", path.string(), error.what());
  }
}

}  // namespace talaria::launch
