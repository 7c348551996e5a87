// SPDX-License-Identifier: Apache-2.0
// The folder of one run: its lock, its attempts, and the two append-only records that people and
// the coordinator read, metrics.jsonl and events.jsonl. Rank 0 writes them; the coordinator adds
// the events that it alone can see, failure and restart.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "cluster/base/lock_file.h"

namespace talaria::worker {

// One line of metrics.jsonl: a finished step (counted from 1).
struct Metric {
  std::int64_t step = 0;
  int attempt = 0;
  std::int64_t tokens = 0;  // trained on so far
  double loss = 0.0;        // nats per token
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  double step_seconds = 0.0;
  double tokens_per_second = 0.0;
  double mfu = 0.0;            // against the matrix peak that this run measured
  std::int64_t rss_bytes = 0;  // of rank 0
  std::optional<double> validation_loss;
  std::map<std::string, double> more;  // further numbers by name (docs/metrics.md)
};

class RunDirectory {
 public:
  // Makes the folder and takes its lock until the object dies. Throws UsageError naming the pid and
  // host of the run that holds it.
  explicit RunDirectory(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  // The number of the next attempt, or `wanted` when that is above 0, and raises the fence to it:
  // from here on no older attempt commits a checkpoint. Throws UsageError when a newer attempt than
  // `wanted` has begun.
  int claim_attempt(int wanted) const;
  // Makes the attempt's folder.
  void begin_attempt(int attempt) const;
  void save_job(const std::string& toml) const;

  void record(const Metric& metric) const;
  // kind: start, checkpoint, signal, failure, fallback, done.
  void record_event(int attempt, int rank, const std::string& kind, const std::string& text) const;

 private:
  std::filesystem::path path_;
  std::optional<LockFile> lock_;
};

// What a finished or stopped run has to show, read from its records; throws UsageError where there
// are none. Printed by `talaria-worker summary`.
struct RunSummary {
  std::int64_t steps = 0;
  double first_loss = 0.0;
  double last_loss = 0.0;  // mean of the last 10 steps
  std::optional<double> validation_loss;
  std::optional<double> validation_bits_per_byte;
  double tokens_per_second = 0.0;  // median
  double mfu = 0.0;                // median
  std::int64_t tokens = 0;
  bool done = false;
};
RunSummary summarise(const std::filesystem::path& run_directory);

}  // namespace talaria::worker
