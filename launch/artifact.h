// SPDX-License-Identifier: Apache-2.0
// What a finished run hands on, DIR/artifact.json: which checkpoint, what it measures, and what it
// was made from. Written by the worker; read by later stages, by their gates and by `talaria show`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace talaria::launch {

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

// The file's text, and back. Metrics that are not finite are left out. Throws Error for text that
// is no artifact.
std::string to_text(const Artifact& artifact);
Artifact parse_artifact(const std::string& text);

// Writes DIR/artifact.json atomically and durably.
void write_artifact(const std::filesystem::path& run, const Artifact& artifact);
// Nothing where there is none. Throws Error for one that is damaged.
std::optional<Artifact> read_artifact(const std::filesystem::path& run);

}  // namespace talaria::launch
