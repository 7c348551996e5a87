// SPDX-License-Identifier: Apache-2.0
// Where a rank's status lies: in the page of the process that waits for the rank, so that it can be
// read after the rank was killed, else in own memory.
#pragma once

#include <memory>
#include <string>

#include "cluster/wire/rank_status.h"

namespace talaria::worker {

// A new status, in phase start. `descriptor` is the number of an inherited descriptor of a shared
// page (wire::kStatusFdVariable), which is closed; "" for none. One that cannot be used is told in
// the log and done without.
std::shared_ptr<wire::RankStatus> open_status(const std::string& descriptor);

}  // namespace talaria::worker
