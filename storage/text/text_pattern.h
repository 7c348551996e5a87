// SPDX-License-Identifier: Apache-2.0
// A pattern that a user wrote, matched against text that a model wrote. Neither is trusted: the
// work of one text is counted and bounded, so no pattern and no text can hang a rank.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace talaria::storage {

struct PatternMatch {
  std::string_view text;                  // may be empty
  std::optional<std::string_view> group;  // capture group 1, where there is one and it took part
};

// A PCRE2 pattern under the JIT. It sees characters, not bytes (UTF); \d, \w, \s and \b are ASCII's
// unless the pattern begins with (*UCP). Bytes of a text that are no UTF-8 match nothing.
class TextPattern {
 public:
  // Steps that one text may take: an item of the pattern that is tried is one, and so are each 64
  // bytes that an item passes over. Some tenths of a second.
  static constexpr std::int64_t kMaxSteps = 5'000'000;

  // UsageError, which begins with `where`, names the byte at which `pattern` is no pattern.
  TextPattern(std::string_view pattern, std::string_view where);
  ~TextPattern();
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;

  // Capture groups.
  int groups() const { return groups_; }

  // Calls visit(match) for the matches that do not overlap, from the left, as Perl's //g finds them
  // (an empty match may follow another match), until it returns false. Any number of threads at
  // once. Error where the text takes more than kMaxSteps in all, or too much memory.
  void visit_matches(std::string_view text,
                     const std::function<bool(const PatternMatch&)>& visit) const;

 private:
  struct Code;
  std::string pattern_;
  std::unique_ptr<const Code> code_;
  int groups_ = 0;
};

}  // namespace talaria::storage
