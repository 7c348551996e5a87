// SPDX-License-Identifier: Apache-2.0
// The mesh: which rank holds which (pipeline, data, tensor) coordinate. Pure arithmetic.
//   rank = (pipeline * dp + data) * tp + tensor
// so a tensor group is consecutive ranks (same node), then data, then pipeline.
#pragma once

#include <vector>

namespace talaria::parallel {

struct Layout {
  int tensor = 1;    // tp
  int pipeline = 1;  // pp
  int data = 1;      // dp

  int world_size() const { return tensor * pipeline * data; }
  bool operator==(const Layout&) const = default;
};

struct Coordinate {
  int tensor = 0;
  int pipeline = 0;
  int data = 0;
  bool operator==(const Coordinate&) const = default;
};

Coordinate coordinate_of(const Layout& layout, int rank);
int rank_of(const Layout& layout, const Coordinate& at);

// The world ranks that share all but one coordinate with `at`, ascending along that axis.
std::vector<int> tensor_group(const Layout& layout, const Coordinate& at);
std::vector<int> pipeline_group(const Layout& layout, const Coordinate& at);
std::vector<int> data_group(const Layout& layout, const Coordinate& at);

}  // namespace talaria::parallel
