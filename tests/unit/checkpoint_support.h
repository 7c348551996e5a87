// SPDX-License-Identifier: Apache-2.0
// Checkpoint tests without MPI: a small model whose every element is a known number, cut into boxes
// by any tiling, saved by a loop over ranks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"

namespace talaria::storage::test {

struct TestTensor {
  std::string name;
  parallel::Dims global;
  bool vector;
  std::int64_t segments;  // virtual shards that split columns, 1 for none
};

// Shapes with odd row counts, one tensor split by columns, vectors, one larger than a chunk's tail.
const std::vector<TestTensor>& small_model();

// The element (row, column) of a tensor of a group at a step; differs everywhere.
float element(const std::string& group, const std::string& tensor, std::int64_t row,
              std::int64_t column, std::int64_t step);

// How every tensor is cut: rows in blocks of ceil(rows / row_parts), columns (of tensors with
// segments) in column_parts, boxes dealt to `ranks` in turn, starting at `first_rank`.
struct Tiling {
  int ranks = 1;
  int row_parts = 1;
  int column_parts = 1;
  int first_rank = 0;
};

// The boxes of one rank with their memory.
struct RankBoxes {
  std::vector<BoxGroup> groups;
  std::vector<std::unique_ptr<std::vector<float>>> memory;
};

const std::vector<std::string>& groups();

// All ranks' boxes; values from element() when `fill`, else NaN.
std::vector<RankBoxes> cut(const std::vector<TestTensor>& model, const Tiling& tiling,
                           std::int64_t step, bool fill);

// A whole save. Returns the committed folder.
std::filesystem::path save(const CheckpointRef& ref, const Tiling& tiling,
                           const std::vector<TestTensor>& model = small_model(),
                           const WriteOptions& options = {});

// Reads the checkpoint in another tiling; the number of elements that are not element(..., step).
std::int64_t wrong_elements(const std::filesystem::path& dir, const Tiling& tiling,
                            std::int64_t step,
                            const std::vector<TestTensor>& model = small_model());

// A fresh folder, removed with the object.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct ChildEnd {
  int signal = 0;      // that killed it, or 0
  int exit_code = -1;  // when it exited
  std::string output;  // its stdout and stderr
};

// Runs `body` in a forked child; its int is the exit code, an exception is 99 and printed.
ChildEnd in_child(const std::function<int()>& body);

// Runs a shell command.
ChildEnd shell(const std::string& command);

}  // namespace talaria::storage::test
