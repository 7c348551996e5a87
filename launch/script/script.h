// SPDX-License-Identifier: Apache-2.0
// A job as a bash script that a person would write: it runs without a coordinator, saves and stops
// when asked to, tries again after a failure, and goes on where it stopped when it is run again.
#pragma once

#include <string>
#include <vector>

#include "launch/stages.h"

namespace talaria::launch {

// What the script names; the paths are absolute. Each is one quoted word of it.
struct ScriptPaths {
  std::string worker;             // talaria-worker
  std::string job_file;           // read when the script runs, so that edits count
  std::string run_directory;      // of the job; stages have folders in it
  std::string working_directory;  // where relative paths of the job file begin
  std::vector<std::string> overrides;
};

// What is asked of Slurm; empty or 0: the cluster's default.
struct SlurmWishes {
  int nodes = 0;
  std::string time = {};       // HH:MM:SS or D-HH:MM:SS
  std::string partition = {};  // one, or several with commas
  std::string account = {};
  std::string output = {};  // file of the log, with sbatch's patterns (%j)
};

// Both throw UsageError naming what cannot stand in a script: control characters and bytes that are
// no UTF-8, a path too long to exist, a wish that #SBATCH could read as something else.
std::string mpirun_script(const StagedJob& job, const ScriptPaths& paths);
std::string slurm_script(const StagedJob& job, const ScriptPaths& paths, const SlurmWishes& wishes);

}  // namespace talaria::launch
