// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace talaria::worker {

Interval wilson(double share, std::int64_t of) {
  if (of == 0) return {0.0, 1.0};
  constexpr double kZ = 1.959963984540054;
  const auto n = static_cast<double>(of);
  const double scale = 1.0 + kZ * kZ / n;
  const double centre = (share + kZ * kZ / (2.0 * n)) / scale;
  const double half = kZ / scale * std::sqrt(share * (1.0 - share) / n + kZ * kZ / (4.0 * n * n));
  // The share is inside, to the last bit.
  return {std::max(0.0, std::min(share, centre - half)),
          std::min(1.0, std::max(share, centre + half))};
}

std::string share_text(double share, std::int64_t of) {
  const Interval interval = wilson(share, of);
  return fmt::format("{:.4f} ({:.4f} to {:.4f})", share, interval.low, interval.high);
}

boost::json::value finite(double number) {
  if (!std::isfinite(number)) return nullptr;
  return number;
}

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) text += "  ";
      if (c == 1 && row.size() == 2) {
        text += row[c];
      } else if (c == 0) {
        text += fmt::format("{:<{}}", row[c], widths[c]);
      } else {
        text += fmt::format("{:>{}}", row[c], widths[c]);
      }
    }
    text += '\n';
  }
  return text;
}

void show_progress(std::string_view what, std::int64_t done, std::int64_t all) {
  if (::isatty(STDERR_FILENO) != 1) return;
  const std::string text =
      done < all ? fmt::format("\r{} {}/{}", what, done, all) : std::string("\r\x1b[K");
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace talaria::worker
