// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/records.h"

#include <charconv>
#include <string_view>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/attempt/small_file.h"
#include "launch/attempt/verdict.h"

namespace talaria::launch {

RankRecords::RankRecords(std::filesystem::path run_directory, int attempt, int ranks)
    : run_directory_(std::move(run_directory)),
      folder_(attempt_folder(run_directory_, attempt).filename()),
      ranks_(ranks) {}

void RankRecords::read(int rank) {
  if (known_.contains(rank) || damaged_.contains(rank)) return;
  try {
    const auto text = read_small_file(run_directory_, folder_ / rank_file(rank, ".exit.json"));
    if (!text) return;
    RankExit exit = parse_rank_exit(*text);
    if (exit.rank != rank) fail("it is of rank {}", exit.rank);
    failure_ = failure_ || is_failure(exit);
    known_.emplace(rank, std::move(exit));
  } catch (const Error& error) {
    damaged_.insert(rank);
    log_warning("{}: {}", rank_file(rank, ".exit.json"), error.what());
  }
}

void RankRecords::look() {
  for (int rank = 0; rank < ranks_ && !complete(); ++rank) read(rank);
}

void RankRecords::look_at(const std::string& name) {
  constexpr std::string_view kPrefix = "rank-";
  if (!name.starts_with(kPrefix)) return;
  int rank = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), rank);
  if (rank >= 0 && rank < ranks_ && name == rank_file(rank, ".exit.json")) read(rank);
}

std::vector<RankExit> RankRecords::by_rank() const {
  std::vector<RankExit> list;
  for (const auto& [rank, exit] : known_) list.push_back(exit);
  return list;
}

}  // namespace talaria::launch
