// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/text.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace talaria {
namespace {

// Line and paragraph separators, and the marks that make a terminal write from right to left.
bool turns_writing(char32_t code) {
  return code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::optional<char32_t> take_code_point(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const std::size_t length = first < 0x80                     ? 1
                             : first >= 0xC2 && first <= 0xDF ? 2
                             : first >= 0xE0 && first <= 0xEF ? 3
                             : first >= 0xF0 && first <= 0xF4 ? 4
                                                              : 0;
  bool valid = length > 0 && text.size() >= length;
  char32_t code = length == 1 ? first : first & (0x7FU >> length);
  for (std::size_t i = 1; valid && i < length; ++i) {
    valid = (byte(i) & 0xC0) == 0x80;
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  valid = valid && !overlong && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  text.remove_prefix(valid ? length : 1);
  return valid ? std::optional(code) : std::nullopt;
}

std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const std::string_view before = text;
    const std::optional<char32_t> code = take_code_point(text);
    if (!code || (*code < 0x20 && *code != '\n' && *code != '\t') || *code == 0x7F) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(before[0]));
    } else if (*code == '\n') {
      line += "\\n";
    } else if (*code == '\t') {
      line += "\\t";
    } else if ((*code >= 0x80 && *code <= 0x9F) || turns_writing(*code)) {
      line += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(*code));
    } else {
      line += before.substr(0, before.size() - text.size());
    }
  }
  return line;
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const std::string_view before = text;
    const bool good = take_code_point(text).has_value();
    valid += good ? before.substr(0, before.size() - text.size()) : "\xEF\xBF\xBD";
  }
  return valid;
}

std::size_t utf8_prefix(std::string_view text) {
  std::string_view rest = text;
  std::size_t good = 0;
  while (!rest.empty() && take_code_point(rest)) good = text.size() - rest.size();
  return good;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMost = 60;
  if (text.size() <= kMost) return fmt::format("\"{}\"", one_line(text));
  std::size_t cut = kMost;  // never inside a UTF-8 sequence
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return fmt::format("\"{}...\"", one_line(text.substr(0, cut)));
}

std::string shell_quote(std::string_view word) {
  // Letters of ASCII only, whatever the locale. No '=': NAME=value before a command is an
  // assignment.
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+:,./-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(word);
  }
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += R"('\'')";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::string join_or(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

int edit_distance(std::string_view a, std::string_view b) {
  // Rows i - 2, i - 1 and i of the dynamic program (optimal string alignment).
  std::vector<int> before(b.size() + 1);
  std::vector<int> above(b.size() + 1);
  std::vector<int> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replace, above[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& words) {
  std::string nearest;
  int least = 0;
  for (const std::string& candidate : words) {
    const int distance = edit_distance(word, candidate);
    const auto longer = static_cast<int>(std::max(word.size(), candidate.size()));
    if (distance > std::max(1, longer / 3)) continue;
    if (nearest.empty() || distance < least) {
      nearest = candidate;
      least = distance;
    }
  }
  return nearest;
}

}  // namespace talaria
