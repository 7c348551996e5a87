// SPDX-License-Identifier: Apache-2.0
// What a coordinator that is not running has left: its jobs, read from state.db without changing
// anything.
#pragma once

#include <filesystem>
#include <vector>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// Newest first, as in a list. Throws Error where the file cannot be read.
std::vector<JobView> offline_jobs(const std::filesystem::path& state_directory);
// All of one job, its stages' job files included.
JobView offline_job(const std::filesystem::path& state_directory, std::int64_t id);

}  // namespace talaria::coordinator
