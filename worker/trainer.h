// SPDX-License-Identifier: Apache-2.0
// The pretraining job on one rank: prepares (job file, run directory, data, checkpoint), loops over
// steps, evaluates, saves, stops when asked to. Everything that ranks must agree on is agreed here.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "parallel/comm/process.h"
#include "worker/progress.h"
#include "worker/reporter.h"

namespace talaria::worker {

struct TrainOptions {
  std::string job_file;
  std::string stage;                    // of a file with [[stage]]
  std::vector<std::string> overrides;   // --set table.key=value
  std::filesystem::path run_directory;  // empty: runs/<job.name>
  int attempt = 0;                      // 0: the next number
  std::string attempt_id;               // unique among all attempts; empty: nobody gave one
  ProgressStyle progress = ProgressStyle::kLines;
  std::string backend;  // what computes and why, told at the start
};

// Collective over all ranks of the process group. Returns the exit code. Keeps the reporter's
// status up to date, and stops early when the reporter or a signal says so.
int train(parallel::Process& process, const TrainOptions& options, Reporter& reporter);

}  // namespace talaria::worker
