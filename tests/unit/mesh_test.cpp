// SPDX-License-Identifier: Apache-2.0
#include "parallel/mesh.h"

#include <set>

#include <gtest/gtest.h>

#include "parallel/box.h"

namespace talaria::parallel {
namespace {

TEST(Mesh, CoordinatesAndRanksAreInverse) {
  for (const Layout layout : {Layout{1, 1, 1}, Layout{2, 2, 2}, Layout{4, 1, 3}, Layout{1, 5, 2}}) {
    for (int rank = 0; rank < layout.world_size(); ++rank) {
      const Coordinate at = coordinate_of(layout, rank);
      EXPECT_EQ(rank_of(layout, at), rank);
      EXPECT_EQ(tensor_group(layout, at)[static_cast<std::size_t>(at.tensor)], rank);
      EXPECT_EQ(pipeline_group(layout, at)[static_cast<std::size_t>(at.pipeline)], rank);
      EXPECT_EQ(data_group(layout, at)[static_cast<std::size_t>(at.data)], rank);
    }
  }
}

TEST(Mesh, TensorGroupsAreNeighbours) {
  EXPECT_EQ(tensor_group({2, 2, 2}, {0, 1, 1}), (std::vector<int>{6, 7}));
}

TEST(Box, RowBlocksCoverEveryRowOnce) {
  for (const std::int64_t rows : {0, 1, 7, 8, 50257}) {
    for (const int parts : {1, 2, 3, 8}) {
      std::int64_t next = 0;
      for (int index = 0; index < parts; ++index) {
        const RowRange range = row_block(rows, parts, index);
        EXPECT_EQ(range.begin, next);
        next = range.end;
      }
      EXPECT_EQ(next, rows);
    }
  }
}

TEST(Box, IntersectionIsTheCommonPart) {
  const auto common = intersect({{0, 4}, {8, 4}}, {{6, 0}, {8, 6}});
  ASSERT_TRUE(common);
  EXPECT_EQ(*common, (Box{{6, 4}, {2, 2}}));
  EXPECT_FALSE(intersect({{0, 0}, {2, 2}}, {{2, 0}, {2, 2}}));
}

}  // namespace
}  // namespace talaria::parallel
