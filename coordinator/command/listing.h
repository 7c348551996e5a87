// SPDX-License-Identifier: Apache-2.0
// `ps` and `show` as text: pure.
#pragma once

#include <string>
#include <vector>

#include "coordinator/command/target.h"

namespace talaria::coordinator {

// `width`: of the terminal; 0: as wide as it needs.
std::string jobs_table(const std::vector<FoundJob>& jobs, double now, int width);
std::string jobs_json(const std::vector<FoundJob>& jobs);

std::string job_text(const JobView& view, const std::string& state, double now, int width);

}  // namespace talaria::coordinator
