// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/group_plan.h"

#include <algorithm>
#include <bit>
#include <set>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

// The ranks on each node where they are equal, consecutive blocks, otherwise 0.
int regular_block(std::span<const int> nodes) {
  const auto next = std::find_if(nodes.begin(), nodes.end(),
                                 [first = nodes[0]](int node) { return node != first; });
  const auto block = static_cast<std::size_t>(next - nodes.begin());
  if (nodes.size() % block != 0) return 0;
  std::set<int> seen;
  for (std::size_t begin = 0; begin < nodes.size(); begin += block) {
    const std::span<const int> members = nodes.subspan(begin, block);
    if (!seen.insert(members[0]).second) return 0;
    const auto same = [first = members[0]](int node) { return node == first; };
    if (!std::all_of(members.begin(), members.end(), same)) return 0;
  }
  return static_cast<int>(block);
}

}  // namespace

GroupPlan plan_group(std::span<const int> node_of_member, Transport requested) {
  using Kind = GroupPlan::Kind;
  if (node_of_member.empty()) fail("a group of no ranks");
  if (node_of_member.size() == 1) return {Kind::kSingle};
  if (requested == Transport::kMpi) return {Kind::kMpi};
  const int block = regular_block(node_of_member);
  if (block == static_cast<int>(node_of_member.size())) return {Kind::kShm};
  if (requested == Transport::kShm) {
    fail(
        "transport shm for a group of {} ranks that lie on several nodes: allowed there are auto "
        "and mpi",
        node_of_member.size());
  }
  if (block > 1 && std::has_single_bit(static_cast<unsigned>(block))) {
    return {Kind::kHierarchical, block};
  }
  return {Kind::kMpi};
}

}  // namespace talaria::parallel
