// SPDX-License-Identifier: Apache-2.0
// A group whose ranks are threads of this process, for tests of everything parallel.
#pragma once

#include <memory>
#include <vector>

#include "parallel/comm/shared_segment.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

// Element r is rank r's end; each is used by one thread at a time.
std::vector<std::unique_ptr<Communicator>> make_local_communicators(
    int n, const SharedOptions& options = {});

}  // namespace talaria::parallel
