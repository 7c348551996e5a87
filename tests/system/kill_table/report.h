// SPDX-License-Identifier: Apache-2.0
// What came of the blows, as lines and as the table of docs/failures.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/system/kill_table/rows.h"

namespace talaria::kill_table {

inline constexpr double kNextStepBar = 15.0;  // seconds from notice to next step

struct Blow {
  bool missed = false;              // there was nothing left to hit
  double instant = 0.0;             // seconds after the victim's first sight
  std::string phase;                // the blamed rank's, from events.jsonl
  std::string text;                 // of the failure event
  std::optional<double> notice;     // seconds
  std::optional<double> next_step;  // seconds
  int restarts = 0;
  std::vector<std::string> complaints;
  std::string output;  // of `talaria run`, where something is wrong
};

class Report {
 public:
  explicit Report(std::uint64_t seed) : seed_(seed) {}

  // Prints the blow's line.
  void add(const Row& row, const Blow& blow);
  // `previous`: an earlier text, of which rows that this report lacks are kept.
  std::string markdown(const std::string& previous) const;
  int blows() const { return blows_; }
  int failed() const { return failed_; }

 private:
  std::string table_line(const Row& row, const std::vector<Blow>& blows) const;

  std::uint64_t seed_;
  int blows_ = 0;
  int failed_ = 0;
  std::vector<std::pair<const Row*, std::vector<Blow>>> table_;
};

}  // namespace talaria::kill_table
