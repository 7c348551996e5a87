// SPDX-License-Identifier: Apache-2.0
// Lines for people, on stderr, each written by one write(2) so that ranks do not cut into each
// other.
#pragma once

#include <string>
#include <utility>

#include <fmt/core.h>

namespace talaria {

// Names this process in every later line, for example "rank 3"; empty (the default) prints no name.
// Call it once, early in main: the name is the identity of the process, fixed for its life.
void set_log_identity(std::string identity);

// From now on every line begins with its time, so that the logs of several processes can be merged:
// "2026-11-24T14:40:00.123Z rank 3: ...". Call it once, early in main, like set_log_identity.
void set_log_times();

// Seconds since 1970 as "2026-11-24T14:40:00.123Z".
std::string utc_time(double wall_seconds);

// "rank 3: ", or "" without an identity; with the time before it where lines carry times.
std::string log_prefix();

void log_line(const std::string& text);
// The same without the process's name, for what all ranks would say alike.
void log_unnamed(const std::string& text);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line("warning: " + fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace talaria
