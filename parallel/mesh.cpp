// SPDX-License-Identifier: Apache-2.0
#include "parallel/mesh.h"

#include "cluster/base/error.h"

namespace talaria::parallel {

Coordinate coordinate_of(const Layout& layout, int rank) {
  TALARIA_CHECK(rank >= 0 && rank < layout.world_size(), "rank {}", rank);
  Coordinate at;
  at.tensor = rank % layout.tensor;
  at.data = rank / layout.tensor % layout.data;
  at.pipeline = rank / (layout.tensor * layout.data);
  return at;
}

int rank_of(const Layout& layout, const Coordinate& at) {
  return (at.pipeline * layout.data + at.data) * layout.tensor + at.tensor;
}

namespace {

std::vector<int> group_along(const Layout& layout, Coordinate at, int Coordinate::*axis, int size) {
  std::vector<int> ranks;
  for (at.*axis = 0; at.*axis < size; ++(at.*axis)) ranks.push_back(rank_of(layout, at));
  return ranks;
}

}  // namespace

std::vector<int> tensor_group(const Layout& layout, const Coordinate& at) {
  return group_along(layout, at, &Coordinate::tensor, layout.tensor);
}

std::vector<int> pipeline_group(const Layout& layout, const Coordinate& at) {
  return group_along(layout, at, &Coordinate::pipeline, layout.pipeline);
}

std::vector<int> data_group(const Layout& layout, const Coordinate& at) {
  return group_along(layout, at, &Coordinate::data, layout.data);
}

}  // namespace talaria::parallel
