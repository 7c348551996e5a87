// SPDX-License-Identifier: Apache-2.0
// Joins the boxes that all ranks wrote into whole tensors, and refuses gaps and overlaps.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "storage/checkpoint/manifest.h"

namespace talaria::storage {
namespace {

std::string describe(const ShardBox& box) {
  return fmt::format("rows {} .. {}, columns {} .. {}", box.box.offset[0],
                     box.box.offset[0] + box.box.extent[0], box.box.offset[1],
                     box.box.offset[1] + box.box.extent[1]);
}

void check_ranks(std::span<const ShardRecord> shards) {
  std::set<int> ranks;
  for (const ShardRecord& shard : shards) {
    if (shard.world != static_cast<int>(shards.size())) {
      fail("checkpoint: {} is of world size {}, but {} ranks sent records", shard.file, shard.world,
           shards.size());
    }
    if (shard.rank < 0 || shard.rank >= shard.world || !ranks.insert(shard.rank).second) {
      fail("checkpoint: rank {} of {} sent no record or two", shard.rank, shard.world);
    }
  }
}

void check_inside(const ShardBox& box) {
  for (std::size_t d = 0; d < 2; ++d) {
    const std::int64_t offset = box.box.offset[d];
    const std::int64_t extent = box.box.extent[d];
    if (offset < 0 || extent < 0 || offset > box.global[d] || extent > box.global[d] - offset) {
      fail("tensor {}: box {} lies outside of [{}, {}]", box.full_name(), describe(box),
           box.global[0], box.global[1]);
    }
  }
}

// Sorts by first row: a box can only overlap those that start before its last row.
void check_overlaps(std::vector<const ShardBox*>& boxes) {
  const auto first_row = [](const ShardBox* box) { return box->box.offset[0]; };
  std::sort(boxes.begin(), boxes.end(), [&](const ShardBox* a, const ShardBox* b) {
    return std::pair(first_row(a), a->box.offset[1]) < std::pair(first_row(b), b->box.offset[1]);
  });
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const std::int64_t end = first_row(boxes[i]) + boxes[i]->box.extent[0];
    for (std::size_t j = i + 1; j < boxes.size() && first_row(boxes[j]) < end; ++j) {
      if (intersect(boxes[i]->box, boxes[j]->box)) {
        fail("tensor {}: boxes {} and {} overlap", boxes[i]->full_name(), describe(*boxes[i]),
             describe(*boxes[j]));
      }
    }
  }
}

TensorRecord join(std::vector<const ShardBox*>& boxes) {
  const ShardBox& first = *boxes.front();
  TensorRecord tensor{first.group,  first.tensor,       first.global,
                      first.vector, first.hash_columns, {}};
  std::int64_t covered = 0;
  for (const ShardBox* box : boxes) {
    if (box->global != first.global || box->vector != first.vector ||
        box->hash_columns != first.hash_columns) {
      fail("tensor {}: ranks disagree: [{}, {}] hashed by {} columns, [{}, {}] hashed by {}",
           tensor.full_name(), first.global[0], first.global[1], first.hash_columns, box->global[0],
           box->global[1], box->hash_columns);
    }
    check_inside(*box);
    covered += box->box.count();
    tensor.hash += box->hash;
  }
  check_overlaps(boxes);
  const std::int64_t all = checked_product(first.global[0], first.global[1], "tensor size");
  if (covered != all) {
    fail("tensor {}: boxes cover {} of {} elements", tensor.full_name(), covered, all);
  }
  return tensor;
}

}  // namespace

std::vector<TensorRecord> join_tensors(std::span<const ShardRecord> shards) {
  check_ranks(shards);
  std::map<std::pair<std::string, std::string>, std::vector<const ShardBox*>> by_name;
  for (const ShardRecord& shard : shards) {
    for (const ShardBox& box : shard.boxes) by_name[{box.group, box.tensor}].push_back(&box);
  }
  std::vector<TensorRecord> tensors;
  tensors.reserve(by_name.size());
  for (auto& [name, boxes] : by_name) tensors.push_back(join(boxes));
  return tensors;
}

}  // namespace talaria::storage
