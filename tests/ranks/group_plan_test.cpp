// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/group_plan.h"

#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

using Kind = GroupPlan::Kind;

Kind kind_of(const std::vector<int>& nodes, Transport requested = Transport::kAuto) {
  return plan_group(nodes, requested).kind;
}

TEST(GroupPlan, OneRankNeedsNoTransport) {
  for (const Transport t : {Transport::kAuto, Transport::kShm, Transport::kMpi}) {
    EXPECT_EQ(kind_of({7}, t), Kind::kSingle);
  }
}

TEST(GroupPlan, OneNodeIsSharedMemoryUnlessMpiIsAskedFor) {
  EXPECT_EQ(kind_of({3, 3, 3}), Kind::kShm);
  EXPECT_EQ(kind_of({3, 3, 3}, Transport::kShm), Kind::kShm);
  EXPECT_EQ(kind_of({3, 3, 3}, Transport::kMpi), Kind::kMpi);
}

TEST(GroupPlan, RegularNodesOfAPowerOfTwoAreHierarchical) {
  const GroupPlan plan =
      plan_group(std::vector{0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8}, Transport::kAuto);
  EXPECT_EQ(plan.kind, Kind::kHierarchical);
  EXPECT_EQ(plan.block, 4);
  EXPECT_EQ(kind_of({9, 9, 1, 1}), Kind::kHierarchical);
}

TEST(GroupPlan, AnythingElseIsMpi) {
  EXPECT_EQ(kind_of({0, 1}), Kind::kMpi);              // blocks of one
  EXPECT_EQ(kind_of({0, 0, 0, 1, 1, 1}), Kind::kMpi);  // blocks of three
  EXPECT_EQ(kind_of({0, 0, 1}), Kind::kMpi);           // unequal
  EXPECT_EQ(kind_of({0, 0, 1, 1, 0, 0}), Kind::kMpi);  // a node twice
  EXPECT_EQ(kind_of({0, 1, 0, 1}), Kind::kMpi);        // interleaved
  EXPECT_EQ(kind_of({0, 0, 1, 1, 2, 3}), Kind::kMpi);  // a ragged end
}

TEST(GroupPlan, SharedMemoryOverNodesIsRefused) {
  EXPECT_THROW(kind_of({0, 0, 1, 1}, Transport::kShm), Error);
  EXPECT_THROW(kind_of({}), Error);
}

}  // namespace
}  // namespace talaria::parallel
