// SPDX-License-Identifier: Apache-2.0
#include "worker/hand_on.h"

#include <sstream>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "launch/artifact.h"
#include "storage/checkpoint/manifest.h"
#include "storage/text/hash.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// The numbers of a step's line; of several the last line counts.
std::map<std::string, double> metrics_of(const fs::path& run, std::int64_t step) {
  std::map<std::string, double> metrics;
  if (!fs::exists(run / "metrics.jsonl")) return metrics;
  std::istringstream lines(read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    json::error_code error;
    const json::value value = json::parse(line, error);
    if (error || !value.is_object()) continue;  // cut short by a crash
    if (value.at("step").to_number<std::int64_t>() != step) continue;
    metrics.clear();
    for (const auto& [name, number] : value.as_object()) {
      if (number.is_number()) metrics[std::string(name)] = number.to_number<double>();
    }
  }
  return metrics;
}

std::int64_t handed_step(const launch::Job& job, const TrainingState& state) {
  const bool best = job.checkpoint.select == "best" && state.best_step >= 0;
  return best ? state.best_step : state.step;
}

}  // namespace

bool has_handed_on(const RunDirectory& run, const launch::Job& job, const TrainingState& state) {
  try {
    const auto artifact = launch::read_artifact(run.path());
    return artifact && artifact->step == handed_step(job, state);
  } catch (const Error& error) {
    log_warning("{}", error.what());
    return false;
  }
}

void hand_on(const RunDirectory& run, const launch::Job& job, const TrainingState& state) {
  launch::Artifact artifact;
  artifact.kind = job.job.kind;
  artifact.step = handed_step(job, state);
  artifact.checkpoint = (fs::path("checkpoints") / storage::step_name(artifact.step)).string();
  const Result<storage::Manifest> manifest =
      storage::read_manifest(run.path() / artifact.checkpoint);
  if (!manifest) {
    fail("{}: {}", (run.path() / artifact.checkpoint / storage::kManifestName).string(),
         manifest.error());
  }
  artifact.weights_hash = manifest.value().weights_hash;
  artifact.metrics = metrics_of(run.path(), artifact.step);
  artifact.data = state.data_fingerprint;
  storage::DigestStream job_digest;
  job_digest.update(state.job_toml);
  artifact.job_hash = storage::digest_to_hex(job_digest.digest());
  artifact.origins = state.origins;
  launch::write_artifact(run.path(), artifact);
}

}  // namespace talaria::worker
