// SPDX-License-Identifier: Apache-2.0
// A job file as its job stages: one, or one for each [[stage]], whose tables override the top-level
// ones.
#pragma once

#include <string>
#include <vector>

#include "cluster/base/config.h"
#include "launch/gate.h"
#include "launch/job.h"

namespace talaria::launch {

struct Stage {
  std::string name;  // of [[stage]]; the job's name in a file without stages
  std::vector<std::string>
      after;                // names of stages that must be done before; default: the one above it
  std::vector<Gate> gates;  // what stages that are done before must have reached
  Job job;                  // validated
  std::string toml;  // the stage's own job file, overrides applied; what it leaves open stays open
};

struct StagedJob {
  std::string name;     // job.name of the file
  bool staged = false;  // the file has [[stage]]: each stage has its own folder
  std::vector<Stage>
      stages;  // as in the file; `after` names earlier stages only, so this order runs
};

// Throws UsageError "file:line: key: what, what is allowed".
StagedJob parse_stages(const ConfigFile& file);

}  // namespace talaria::launch
