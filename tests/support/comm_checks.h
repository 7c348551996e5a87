// SPDX-License-Identifier: Apache-2.0
// The suite that every transport passes: each check is run by all ranks of a group at once, whether
// they are threads or processes. Expected values are computed by each rank on its own, from what it
// knows the others hold.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"

namespace talaria::parallel {

struct CommCheck {
  const char* name;
  // EXPECTs; throws only what the communicator throws.
  void (*run)(Communicator& comm);
  // The group is unusable afterwards, where true.
  bool breaks_group = false;
};

// For a group of at least one rank; checks that need two do nothing in a group of one.
const std::vector<CommCheck>& comm_checks();

}  // namespace talaria::parallel
