// SPDX-License-Identifier: Apache-2.0
// What a finished run hands on, DIR/artifact.json: which checkpoint, what it measures, and what it
// was made from. Read by later stages, by their gates and by `talaria show`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/value.hpp>

namespace talaria::worker {

// A checkpoint that the run began with.
struct Origin {
  std::string role;  // the key of [start]: "weights", "reference", "reward", "value"
  std::string checkpoint;
  std::int64_t step = 0;
  std::string weights_hash;
};

struct Artifact {
  std::string kind;        // job.kind
  std::string checkpoint;  // "checkpoints/step-00000100"
  std::int64_t step = 0;
  std::string weights_hash;
  std::map<std::string, double> metrics;  // of that checkpoint; finite
  std::string data;                       // fingerprint
  std::string job_hash;                   // XXH3-128 of the effective job file
  std::vector<Origin> origins;
};

inline constexpr const char* kArtifactName = "artifact.json";

// Writes DIR/artifact.json atomically and durably.
void write_artifact(const std::filesystem::path& run, const Artifact& artifact);
// Nothing where there is none. Throws Error for one that is damaged.
std::optional<Artifact> read_artifact(const std::filesystem::path& run);

// From an origin to one line of JSON and back, as artifacts and manifests hold it.
boost::json::value to_json(const std::vector<Origin>& origins);
std::vector<Origin> parse_origins(const boost::json::value& value);

}  // namespace talaria::worker
