// SPDX-License-Identifier: Apache-2.0
#include "cluster/inventory/small_read.h"

#include <charconv>
#include <sstream>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::inventory {

std::string read_or_empty(const std::filesystem::path& path) {
  try {
    return read_file(path);
  } catch (const Error&) {
    return "";
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace talaria::inventory
