// SPDX-License-Identifier: Apache-2.0
// The pretraining job on one rank: prepares (job file, run directory, data, checkpoint), loops over
// steps, evaluates, saves, stops when asked to. Everything that ranks must agree on is agreed here.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "parallel/comm/process.h"
#include "worker/progress.h"

namespace talaria::worker {

struct TrainOptions {
  std::string job_file;
  std::string stage;                    // of a file with [[stage]]
  std::vector<std::string> overrides;   // --set table.key=value
  std::filesystem::path run_directory;  // empty: runs/<job.name>
  int attempt = 0;                      // 0: the next number
  ProgressStyle progress = ProgressStyle::kLines;
  std::string backend;      // what computes and why, told at the start
  bool check_only = false;  // judge everything, start nothing
};

// Collective over all ranks of the process group. Returns the exit code.
int train(parallel::Process& process, const TrainOptions& options);

}  // namespace talaria::worker
