// SPDX-License-Identifier: Apache-2.0
// The crash points (cluster/base/crash_point.h) of the program that trains and saves checkpoints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/crash_point.h"

namespace talaria::storage {

// The names, in the order in which a save passes them.
const std::vector<std::string_view>& crash_point_names();
// The names in the trainer's loop, in the order in which a step passes them; those between
// step.begin and step.end are PPO's.
const std::vector<std::string_view>& loop_crash_point_names();

// Arms one of either.
void arm_crash_point(const std::string& name, int hit);

using talaria::crash_point;
using talaria::crash_point_was_missed;
using talaria::unreached_crash_point;

}  // namespace talaria::storage
