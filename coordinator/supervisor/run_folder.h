// SPDX-License-Identifier: Apache-2.0
// What the coordinator reads and writes in a run directory, always with the rights of the job's
// user.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/supervisor/identity.h"
#include "launch/artifact.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {

// A line of events.jsonl that the coordinator writes: kind "failure" or "restart".
struct RunEvent {
  double time = 0.0;  // wall seconds
  int attempt = 0;
  int rank = -1;  // -1: none is to blame
  std::string kind;
  std::string text;
  std::string phase;  // of that rank; "" where it is not known
  std::int64_t step = -1;
  int signal = 0;
  std::optional<double> detected_seconds;      // of a failure: from the event to its notice
  std::optional<double> seconds_to_next_step;  // of a restart: from that notice
};

// The last line of metrics.jsonl.
struct LastMetric {
  std::int64_t step = 0;
  double loss = 0.0;
  double tokens_per_second = 0.0;
  double mfu = 0.0;
};

class RunFolder {
 public:
  RunFolder(std::filesystem::path path, Identity user);

  // The largest N of attempt-N, 0 without any.
  int newest_attempt() const;
  // Whether a checkpoint was committed at or after this wall time.
  bool checkpoint_since(double time) const;
  std::optional<LastMetric> last_metric() const;
  // What the run hands on; nothing before it is done. Throws Error for a damaged file.
  std::optional<launch::Artifact> artifact() const;
  launch::LauncherState launcher() const;
  // One that is not there yet, or no more, hears nothing: the next plan's matter.
  void signal_launcher(const std::string& attempt_id, int signal) const;
  // Throws Error for a damaged report.
  std::optional<launch::ExitReport> exit_report(int attempt) const;
  // Whether the attempt may have had processes.
  bool has_started(int attempt) const;
  bool has_stack(int attempt, int rank) const;

  // None of these throws: what cannot be written is lost, with a warning in the coordinator's log.
  void record(const RunEvent& event) const;
  void write_channel(int attempt, const std::string& address) const;
  void ask_for_stack(int attempt, int rank) const;

  const std::filesystem::path& path() const { return path_; }
  const Identity& user() const { return user_; }

 private:
  std::filesystem::path path_;
  Identity user_;
};

}  // namespace talaria::coordinator
