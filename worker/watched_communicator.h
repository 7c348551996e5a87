// SPDX-License-Identifier: Apache-2.0
// A communicator that says in the rank's status which collective it waits in, so that a job that
// hangs tells who waits and who does not come. Adds two stores to a call and changes no byte.
#pragma once

#include <memory>

#include "cluster/wire/rank_status.h"
#include "parallel/communicator.h"

namespace talaria::worker {

// The same group, watched. `status` must outlive it. A group of one never waits and is returned as
// it is.
std::unique_ptr<parallel::Communicator> watched(std::unique_ptr<parallel::Communicator> group,
                                                wire::RankStatus& status);

}  // namespace talaria::worker
