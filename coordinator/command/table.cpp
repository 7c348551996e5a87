// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/table.h"

#include <algorithm>
#include <numeric>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "coordinator/command/format.h"

namespace talaria::coordinator {
namespace {

constexpr int kGap = 2;
constexpr int kLeastColumn = 6;

// Narrows the widest of the columns in `may_shrink` until the line fits or none can give more.
void fit(std::vector<int>& widths, const std::vector<bool>& stiff, int width) {
  const int gaps = kGap * (static_cast<int>(widths.size()) - 1);
  int excess = std::accumulate(widths.begin(), widths.end(), gaps) - width;
  while (excess > 0) {
    std::size_t widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (stiff[i] || widths[i] <= kLeastColumn) continue;
      if (widest == widths.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == widths.size()) return;
    --widths[widest];
    --excess;
  }
}

}  // namespace

Table::Table(const std::vector<std::string>& headings) {
  std::vector<std::string> heading;
  for (const std::string& each : headings) {
    right_.push_back(each.starts_with('>'));
    heading.push_back(right_.back() ? each.substr(1) : each);
  }
  rows_.push_back(heading);
}

void Table::add(const std::vector<std::string>& cells) {
  TALARIA_CHECK(cells.size() == right_.size());
  std::vector<std::string> row;
  row.reserve(cells.size());
  for (const std::string& cell : cells) row.push_back(one_line(cell));
  rows_.push_back(std::move(row));
}

std::string Table::text(int width) const {
  std::vector<int> widths(right_.size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  if (width > 0) fit(widths, right_, width);
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string cell = clip(row[i], widths[i]);
      const auto blanks = static_cast<std::size_t>(widths[i] - display_width(cell));
      line += right_[i] ? std::string(blanks, ' ') + cell : cell + std::string(blanks, ' ');
      line += std::string(kGap, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace talaria::coordinator
