// SPDX-License-Identifier: Apache-2.0
// What a stage was made from, in the words of its job. Pure.
#pragma once

#include <string>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// The stage of this job in whose folder the checkpoint lies; "" for one from elsewhere.
std::string origin_stage(const JobView& view, const launch::Origin& origin);

}  // namespace talaria::coordinator
