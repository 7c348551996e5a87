// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/lineage.h"

#include <filesystem>

namespace talaria::coordinator {

std::string origin_stage(const JobView& view, const launch::Origin& origin) {
  namespace fs = std::filesystem;
  // The worker ran in the folder that the job was submitted from.
  const fs::path checkpoint =
      (fs::path(view.job.working_directory) / origin.checkpoint).lexically_normal();
  for (const StageView& stage : view.stages) {
    const fs::path folder = fs::path(stage.row.run_directory) / "checkpoints";
    if (checkpoint.parent_path() == folder.lexically_normal()) return stage.row.name;
  }
  return "";
}

}  // namespace talaria::coordinator
