// SPDX-License-Identifier: Apache-2.0
// What every task of `talaria eval` says its results with: a table for people, a line of JSON for
// programs, shares with their intervals.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

namespace talaria::worker {

struct Interval {
  double low = 0.0;
  double high = 0.0;
};
// 95 % score interval of a share of `of` trials (Wilson 1927, J. Am. Stat. Assoc. 22: 209-212,
// doi:10.1080/01621459.1927.10502953), z = 1.959964. [0, 1] where there are none.
Interval wilson(double share, std::int64_t of);

// "0.7500 (0.6011 to 0.8570)".
std::string share_text(double share, std::int64_t of);

// A number as JSON has it: null where it is not finite.
boost::json::value finite(double number);

// Rows of words in columns as wide as their widest word; the first column is flush left, the others
// flush right but for the last of a row of two, which is flush left.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

// Says on stderr, where it is a terminal, how far something is: one line that is written over, and
// taken away when `done` is `all`.
void show_progress(std::string_view what, std::int64_t done, std::int64_t all);

}  // namespace talaria::worker
