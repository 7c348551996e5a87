// SPDX-License-Identifier: Apache-2.0
// The findings as people and as programs read them.
#pragma once

#include <string>
#include <vector>

#include "coordinator/doctor/judge.h"

namespace talaria::doctor {

// A line an item, what to do below it, and a last line that says whether the quickstart can run.
std::string report_text(const std::vector<Finding>& findings);

// { quickstart: bool, stops: [items], findings: [{ item, level, found, remedy, stops }], node, disk
// }
std::string report_json(const std::vector<Finding>& findings, const Facts& facts);

}  // namespace talaria::doctor
