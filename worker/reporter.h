// SPDX-License-Identifier: Apache-2.0
// Tells the coordinator what this rank does, from a thread of its own, and hears from it when to
// stop (docs/orchestrator.md, "Rank channel"). A coordinator that is away, slow or hangs costs the
// rank nothing: what cannot be sent is dropped, and once a second it is tried again. The thread
// calls no MPI, runs no signal handler and throws nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "cluster/wire/rank_status.h"

namespace talaria::worker {

struct ReporterOptions {
  std::filesystem::path attempt_folder;  // with the files `channel` and `secret`
  std::string attempt_id;
  int rank = 0;
  int world = 1;
};

// What the rank and its reporter thread share.
struct ReporterState;

class Reporter {
 public:
  // Silent until start(); enter() and status() work all the same.
  explicit Reporter(std::shared_ptr<wire::RankStatus> status);
  // Says no bye unless finish() did. Returns within a second.
  ~Reporter();
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

  // Starts the thread, once. A failure is told in the log and done without.
  void start(const ReporterOptions& options);

  wire::RankStatus& status() { return *status_; }
  // Begins a phase, also the one that it is in: the next step. The coordinator hears of a new phase
  // at once.
  void enter(wire::Phase phase);
  // There is news that should not wait for the next beat.
  void tell();
  // Whether the coordinator asked for a stop with a checkpoint.
  bool stop_requested() const;

  // Says what the process exits with, and ends the thread. Returns within a second.
  void finish(int exit_code);

 private:
  void quit();

  std::shared_ptr<wire::RankStatus> status_;
  std::shared_ptr<ReporterState> shared_;  // with the thread; empty until start()
};

}  // namespace talaria::worker
