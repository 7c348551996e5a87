// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/toml_text.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/text.h"

namespace talaria {

namespace {

constexpr int kMostParts = 32;

// Follows strings, comments and dotted keys, and stops at the first character that the parser must
// not see: one beyond ASCII where none may stand, or the dot before a key's part too many. In
// broken text a quote may stand where the parser sees no string, so this knows where one may begin.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {}

  // The offset of that character, or the end.
  std::size_t run() {
    while (at_ < text_.size() && !stray_) {
      const char c = text_[at_];
      if (is_foreign(c)) break;
      if (c == '#') {
        skip_to('\n');
      } else if ((c == '"' || c == '\'') && begins_string()) {
        skip_string(c);
      } else {
        if (c == '.' && ++dots_ >= kMostParts) break;
        if (std::string_view("=,[]{}\n").find(c) != std::string_view::npos) follow(c);
        ++at_;
      }
    }
    return at_;
  }

 private:
  // What encloses the place, and whether it is right of the '=' there.
  struct Level {
    char open = '\n';  // '[' of an array, '{' of a table, else the file
    bool in_value = false;
  };

  void follow(char c) {
    dots_ = 0;
    Level& level = levels_.back();
    if (c == '=') {
      broken_ = broken_ || level.in_value;
      level.in_value = true;
    } else if ((c == '\n' && level.open == '\n') || (c == ',' && level.open == '{')) {
      level.in_value = false;
    } else if (c == '{' || (c == '[' && level.in_value)) {  // else it is a [header]
      levels_.push_back({c, c == '['});
    } else if (levels_.size() > 1 &&
               ((c == '}' && level.open == '{') || (c == ']' && level.open == '['))) {
      levels_.pop_back();
    }
  }

  bool begins_string() const {
    if (broken_) return false;
    if (at_ == 0) return true;
    return std::string_view(levels_.back().in_value ? " \t\r\n=,[" : " \t\r\n,{[.")
               .find(text_[at_ - 1]) != std::string_view::npos;
  }

  static bool is_foreign(char c) { return static_cast<unsigned char>(c) >= 0x80; }
  bool starts_with(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  void skip_to(char c) { at_ = std::min(text_.find(c, at_), text_.size()); }

  void skip_string(char quote) {
    const std::string three(3, quote);
    if (starts_with(three)) {
      at_ += 3;
      skip_long_string(quote, three);
      return;
    }
    for (++at_; at_ < text_.size() && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == quote) {
        ++at_;
        return;
      }
      if (text_[at_] == '\\' && quote == '"' && skip_escape()) return;
    }
  }

  void skip_long_string(char quote, const std::string& three) {
    while (at_ < text_.size()) {
      if (starts_with(three)) {
        at_ += 3;
        // Two more quotes may belong to the text.
        for (int more = 0; more < 2 && at_ < text_.size() && text_[at_] == quote; ++more) ++at_;
        return;
      }
      if (text_[at_] == '\\' && quote == '"') {
        if (skip_escape()) return;
        // A backslash at the end of a line swallows white space up to the next text.
        const std::size_t after = text_.find_first_not_of(" \t\r\n", at_ + 1);
        if (std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
          at_ = std::min(after, text_.size());
          stray_ = at_ < text_.size() && is_foreign(text_[at_]);
          if (stray_) return;
          continue;
        }
      }
      ++at_;
    }
  }

  // Moves onto what is escaped; true where that may not be.
  bool skip_escape() {
    if (at_ + 1 < text_.size()) ++at_;
    stray_ = is_foreign(text_[at_]);
    return stray_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int dots_ = 0;  // since the key began
  std::vector<Level> levels_ = {{}};
  bool broken_ = false;  // a second '=': no string begins after it
  bool stray_ = false;
};

std::uint32_t line_of(std::string_view text, std::size_t offset) {
  return static_cast<std::uint32_t>(1 + std::count(text.data(), text.data() + offset, '\n'));
}

}  // namespace

std::optional<TextFault> find_text_fault(std::string_view text) {
  const std::size_t good = utf8_prefix(text);
  if (good < text.size()) {
    return TextFault{line_of(text, good), fmt::format("byte 0x{:02x} is not UTF-8",
                                                      static_cast<unsigned char>(text[good]))};
  }
  // A mark of byte order may begin a file.
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  const std::size_t begin = text.starts_with(kMark) ? kMark.size() : 0;
  const std::size_t stray = begin + Walk(text.substr(begin)).run();
  if (stray < text.size() && text[stray] == '.') {
    return TextFault{line_of(text, stray), fmt::format("a key of more than {} parts", kMostParts)};
  }
  if (stray < text.size()) {
    std::size_t end = stray + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    return TextFault{line_of(text, stray),
                     fmt::format("the character {} may stand in a string or comment only",
                                 in_quotes(text.substr(stray, end - stray)))};
  }
  return std::nullopt;
}

std::string key_in_line(std::string_view text, std::uint32_t line) {
  std::string table;
  std::string key;
  std::istringstream lines{std::string(text)};
  std::string row;
  for (std::uint32_t at = 1; at <= line && std::getline(lines, row); ++at) {
    const std::size_t first = row.find_first_not_of(" \t");
    key.clear();
    if (first == std::string::npos) continue;
    if (row[first] == '[') {
      const std::size_t begin = row.find_first_not_of("[ \t", first);
      const std::size_t end = row.find_first_of("] \t\r", begin);
      const std::string name = begin < end ? row.substr(begin, end - begin) : "";
      table = is_bare_key(name) ? name : "";
      continue;
    }
    const std::size_t end = row.find_first_of("= \t", first);
    const std::string name = row.substr(first, end == std::string::npos ? end : end - first);
    if (is_bare_key(name)) key = name;
  }
  if (table.empty() || key.empty()) return table + key;
  return table + "." + key;
}

bool is_bare_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c) != 0) || c == '_' || c == '-';
  });
}

}  // namespace talaria
