// SPDX-License-Identifier: Apache-2.0
// The ends of an attempt's ranks, as their records (rank-NNNNN.exit.json) appear in its folder.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/attempt/attempt.h"

namespace talaria::launch {

class RankRecords {
 public:
  RankRecords(std::filesystem::path run_directory, int attempt, int ranks);

  // Looks for the records of all ranks that are not known yet.
  void look();
  // Looks at a file of the folder that has just appeared.
  void look_at(const std::string& name);

  bool complete() const { return static_cast<int>(known_.size()) == ranks_; }
  bool any_failure() const { return failure_; }
  std::vector<RankExit> by_rank() const;

 private:
  void read(int rank);

  std::filesystem::path run_directory_;
  std::filesystem::path folder_;  // below it
  int ranks_;
  std::map<int, RankExit> known_;
  std::set<int> damaged_;  // files that are no records
  bool failure_ = false;
};

}  // namespace talaria::launch
