// SPDX-License-Identifier: Apache-2.0
// Reading the small text files of /proc and /sys, where a missing one is no trouble.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace talaria::inventory {

// The file's text, or "" where it cannot be read.
std::string read_or_empty(const std::filesystem::path& path);

std::vector<std::string> lines_of(const std::string& text);
// The words between blanks.
std::vector<std::string> words_of(const std::string& line);

// A whole decimal number, with blanks around it allowed.
std::optional<std::int64_t> whole_number(std::string_view text);

}  // namespace talaria::inventory
