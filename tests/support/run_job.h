// SPDX-License-Identifier: Apache-2.0
// A folder with prepared text and a job file, and the real program run on it under mpirun.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "tests/support/child_process.h"

namespace talaria::worker {

// One way to run a job.
struct RunPlan {
  parallel::Layout layout;
  std::int64_t micro_batch = 1;
  std::string schedule = "1f1b";
  bool zero = true;
  int threads = 1;
  bool invariant = true;                 // else fast
  std::vector<std::string> set;          // further table.key=value
  std::vector<std::string> args;         // further options of talaria-worker
  std::vector<std::string> mpirun_args;  // further options of mpirun
  std::vector<std::string> prefix;       // a command that runs mpirun, in front of it
  std::string job_file = "job.toml";     // in the folder
};

class JobFolder {
 public:
  // Makes `folder` (emptied first unless `reuse`), prepares two sources of text from the project's
  // own files, and writes job.toml with `model_and_train` (the [model] and [train] tables, 20
  // steps).
  JobFolder(const std::filesystem::path& folder, const std::string& model_and_train,
            bool reuse = false);

  // Runs `mpirun -n ranks talaria-worker` in `folder` with run directory `run`.
  ChildResult run(const std::string& run, const RunPlan& plan, double timeout_seconds,
                  const std::function<void(pid_t, const std::string&)>& watch = nullptr) const;
  // Runs a subcommand of talaria-worker without mpirun.
  ChildResult tool(const std::vector<std::string>& args, double timeout_seconds = 60) const;

  // metrics.jsonl of a run, by step, the last line of a step.
  std::map<std::int64_t, std::string> loss_bits(const std::string& run) const;
  // A member of each step's line, as text.
  std::map<std::int64_t, std::string> metric(const std::string& run, const std::string& key) const;
  // Of the newest committed checkpoint.
  std::string weights_hash(const std::string& run) const;
  std::vector<std::filesystem::path> checkpoints(const std::string& run) const;

  const std::filesystem::path& path() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

// The model of the layouts issue: 4 layers, 8 heads, C 256, T 256, dropout, at least 3
// micro-batches.
extern const char* const kLayoutsModel;
// A tiny one whose steps take milliseconds, for stopping and killing.
extern const char* const kTinyModel;

}  // namespace talaria::worker
