// SPDX-License-Identifier: Apache-2.0
// Text for people: durations, clock times, numbers, and how wide a text is on a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace talaria::coordinator {

std::string format_duration(double seconds);   // "4 min 05 s", "0.5 s"
std::string format_clock(double wall);         // local "14:40:00"
std::string format_date(double wall);          // local "2026-11-24 14:40:00"
std::string format_bytes(std::int64_t bytes);  // "1.5 GiB"
std::string format_count(double number);       // "12,345"
std::string format_loss(double loss);          // "3.2145", "-" when it is not a number

// Columns that `text` takes; of one_line()d text.
int display_width(std::string_view text);
// At most `width` columns of it, the last a "~" when something is cut off.
std::string clip(std::string_view text, int width);

}  // namespace talaria::coordinator
