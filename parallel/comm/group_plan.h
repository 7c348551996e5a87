// SPDX-License-Identifier: Apache-2.0
// Which transport suits a group, from where its members run. Pure arithmetic.
#pragma once

#include <cstdint>
#include <span>

namespace talaria::parallel {

enum class Transport : std::uint8_t {
  kAuto,  // the fastest that fits: shm on one node, hierarchical over regular nodes, else mpi
  kShm,   // Error unless the group lies on one node
  kMpi,
};

struct GroupPlan {
  enum class Kind : std::uint8_t { kSingle, kShm, kHierarchical, kMpi };
  Kind kind = Kind::kSingle;
  int block = 1;  // ranks of the group on each node, for kHierarchical
};

// node_of_member[i] is any number that says on which node rank i of the group runs. Hierarchical
// needs two nodes or more, each with the same number of consecutive ranks, a power of two above 1.
// Throws Error for kShm over several nodes.
GroupPlan plan_group(std::span<const int> node_of_member, Transport requested);

}  // namespace talaria::parallel
