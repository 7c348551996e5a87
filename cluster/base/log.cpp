// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/log.h"

#include <chrono>
#include <cmath>
#include <ctime>

#include <fmt/chrono.h>
#include <unistd.h>

#include "cluster/base/clock.h"

namespace talaria {
namespace {

// How the lines of this process begin, set early in main.
struct Style {
  std::string identity;
  bool times = false;
};

Style& style() {
  static Style value;
  return value;
}

std::string time_prefix() { return style().times ? utc_time(wall_seconds()) + " " : ""; }

void write_line(const std::string& line) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void set_log_identity(std::string name) { style().identity = std::move(name); }

void set_log_times() { style().times = true; }

std::string utc_time(double wall_seconds) {
  const auto milliseconds = static_cast<std::int64_t>(std::floor(wall_seconds * 1000.0));
  const std::int64_t rest = (milliseconds % 1000 + 1000) % 1000;
  const auto seconds = static_cast<std::time_t>((milliseconds - rest) / 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), rest);
}

std::string log_prefix() {
  const std::string& name = style().identity;
  return time_prefix() + (name.empty() ? "" : name + ": ");
}

void log_line(const std::string& text) { write_line(log_prefix() + text + "\n"); }

void log_unnamed(const std::string& text) { write_line(time_prefix() + text + "\n"); }

}  // namespace talaria
