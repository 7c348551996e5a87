// SPDX-License-Identifier: Apache-2.0
// From a job file as the user names it to a request that a coordinator takes: read, judged, and
// asked of talaria-worker, before anything starts.
#pragma once

#include <string>
#include <vector>

#include "coordinator/api/service.h"
#include "launch/attempt/command_line.h"
#include "launch/stages.h"

namespace talaria::coordinator {

struct JobSource {
  std::string file;
  std::vector<std::string> overrides;  // "table.key=value"
  std::string run_directory;           // "": runs/<name>
};

struct PreparedJob {
  SubmitRequest request;
  launch::StagedJob job;
};

// Throws UsageError with one line for a job file that cannot run here.
PreparedJob prepare_job(const JobSource& source, const launch::Tools& tools);

}  // namespace talaria::coordinator
