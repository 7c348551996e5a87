// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/format.h"

#include <cmath>
#include <ctime>
#include <optional>

#include <fmt/core.h>

#include "cluster/base/text.h"

namespace talaria::coordinator {
namespace {

// Wide in East Asian scripts, and emoji; combining marks take nothing.
int columns_of(char32_t code) {
  if ((code >= 0x300 && code <= 0x36F) || code == 0x200B || code == 0x200C || code == 0x200D ||
      (code >= 0xFE00 && code <= 0xFE0F) || code == 0xFEFF) {
    return 0;
  }
  const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                    (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                    (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
                    (code >= 0xFFE0 && code <= 0xFFE6) || (code >= 0x1F300 && code <= 0x1FAFF) ||
                    (code >= 0x20000 && code <= 0x3FFFD);
  return wide ? 2 : 1;
}

std::optional<std::tm> local_time(double wall) {
  if (!std::isfinite(wall) || wall <= 0.0) return std::nullopt;
  const auto seconds = static_cast<std::time_t>(wall);
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return std::nullopt;
  return parts;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0.0) return "-";
  constexpr double kMost = 1e9;
  if (seconds > kMost) return "years";
  if (seconds > 0.0 && seconds < 9.95 && seconds != std::round(seconds)) {
    return fmt::format("{:.1f} s", seconds);
  }
  const std::int64_t whole = std::llround(seconds);
  if (whole >= 2 * 86400) return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

std::string format_clock(double wall) {
  const std::optional<std::tm> at = local_time(wall);
  return at ? fmt::format("{:02}:{:02}:{:02}", at->tm_hour, at->tm_min, at->tm_sec) : "-";
}

std::string format_date(double wall) {
  const std::optional<std::tm> at = local_time(wall);
  if (!at) return "-";
  return fmt::format("{:04}-{:02}-{:02} {}", at->tm_year + 1900, at->tm_mon + 1, at->tm_mday,
                     format_clock(wall));
}

std::string format_bytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < std::size(kUnits)) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_count(double number) {
  if (!std::isfinite(number)) return "-";
  if (std::abs(number) < 9.95 && number != std::round(number)) return fmt::format("{:.1f}", number);
  std::string digits = fmt::format("{:.0f}", number);
  const std::size_t first = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string format_loss(double loss) {
  return std::isfinite(loss) ? fmt::format("{:.4f}", loss) : "-";
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) width += columns_of(take_code_point(text).value_or(U'?'));
  return width;
}

std::string clip(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  std::string kept;
  int used = 0;
  while (!text.empty()) {
    const std::string_view before = text;
    used += columns_of(take_code_point(text).value_or(U'?'));
    if (used > width - 1) break;
    kept += before.substr(0, before.size() - text.size());
  }
  if (width > 0) kept += '~';
  return kept;
}

}  // namespace talaria::coordinator
