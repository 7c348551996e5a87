// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/local.h"

#include "parallel/comm/shared_comm.h"

namespace talaria::parallel {

std::vector<std::unique_ptr<Communicator>> make_local_communicators(int n,
                                                                    const SharedOptions& options) {
  const std::shared_ptr<SharedSegment> segment = SharedSegment::anonymous(n, options);
  std::vector<std::unique_ptr<Communicator>> ends;
  ends.reserve(static_cast<std::size_t>(n));
  for (int rank = 0; rank < n; ++rank) {
    ends.push_back(std::make_unique<SharedCommunicator>(segment, rank, "local", nullptr));
  }
  return ends;
}

}  // namespace talaria::parallel
