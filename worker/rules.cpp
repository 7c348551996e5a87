// SPDX-License-Identifier: Apache-2.0
#include "worker/rules.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::worker {
namespace {

const std::vector<std::string> kKinds = {"exact", "match", "share"};
const std::vector<std::string> kGroups = {"text", "number"};

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "-1,234.50" or "+7"; nothing for other text.
std::optional<double> parse_decimal(std::string_view text) {
  text = stripped(text);
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool between =
        i > 0 && i + 1 < text.size() && is_digit(text[i - 1]) && is_digit(text[i + 1]);
    if (text[i] == '+' && i == 0 && text.size() > 1 && text[1] != '-') continue;
    if (text[i] == ',' && between) continue;
    digits += text[i];
  }
  double value = 0.0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

void check_word(std::string_view where, const char* key, const std::string& word,
                const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), word) != allowed.end()) return;
  const std::string nearest = nearest_word(word, allowed);
  fail_usage("{}: {} {} is unknown; allowed are {}{}", where, key, in_quotes(word),
             join_or(allowed), nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
}

// A key that the kind needs is there, and one that it does not know is not.
void check_key(std::string_view where, const RewardRule& rule, const char* key,
               const std::string& value, bool needed) {
  if (needed && value.empty()) {
    fail_usage("{}: kind {} needs `{}`, a PCRE2 pattern", where, in_quotes(rule.kind), key);
  }
  if (!needed && !value.empty()) {
    fail_usage("{}: kind {} knows no `{}`; leave it out", where, in_quotes(rule.kind), key);
  }
}

}  // namespace

RuleReward::RuleReward(const RewardRule& rule, std::string_view where) : rule_(rule) {
  check_word(where, "kind", rule.kind, kKinds);
  const bool match = rule.kind == "match";
  check_key(where, rule, "pattern", rule.pattern, rule.kind != "exact");
  check_key(where, rule, "of", rule.of, rule.kind == "share");
  if (!match) check_key(where, rule, "group", rule.group, false);
  if (!match && !rule.count) {
    fail_usage("{}: kind {} knows no `count`; leave it out", where, in_quotes(rule.kind));
  }
  if (!rule.group.empty()) check_word(where, "group", rule.group, kGroups);
  if (!rule.pattern.empty()) pattern_.emplace(rule.pattern, fmt::format("{}: pattern", where));
  if (!rule.of.empty()) of_.emplace(rule.of, fmt::format("{}: of", where));
  if (!rule.group.empty() && pattern_->groups() == 0) {
    fail_usage(
        "{}: group = {} compares capture group 1, and pattern {} has none; put ( ) around "
        "the answer",
        where, in_quotes(rule.group), in_quotes(rule.pattern));
  }
}

std::string RuleReward::fault_of(std::string_view expected) const {
  if (!needs_expected()) return "";
  if (stripped(expected).empty()) {
    return fmt::format(
        "{}, with which a rule of kind {} compares; allowed: an answer that is not blank",
        expected.empty() ? "no \"answer\"" : "the \"answer\" is blank", in_quotes(rule_.kind));
  }
  if (rule_.group == "number" && !parse_decimal(expected)) {
    return fmt::format(
        "the \"answer\" {} is no number, and the rule compares numbers; allowed: a decimal number "
        "(1,000 or -2.5), or a rule that compares text",
        in_quotes(expected));
  }
  return "";
}

void RuleReward::check(std::string_view expected, std::string_view place) const {
  const std::string fault = fault_of(expected);
  if (!fault.empty()) fail_usage("{}: {}", place, fault);
}

double RuleReward::score(std::string_view response, std::string_view expected) const {
  const std::string fault = fault_of(expected);
  if (!fault.empty()) fail("the prompt: {}", fault);
  if (rule_.kind == "exact") return stripped(response) == stripped(expected) ? 1.0 : 0.0;
  if (rule_.kind == "match") return accepted_matches(response, expected);
  const double whole = matches(*of_, response);
  return whole > 0.0 ? matches(*pattern_, response) / whole : 0.0;
}

double RuleReward::matches(const storage::TextPattern& pattern, std::string_view response) const {
  double found = 0.0;
  pattern.visit_matches(response, [&](const storage::PatternMatch&) {
    found += 1.0;
    return true;
  });
  return found;
}

double RuleReward::accepted_matches(std::string_view response, std::string_view expected) const {
  const bool by_number = rule_.group == "number";
  const std::optional<double> number = by_number ? parse_decimal(expected) : std::nullopt;
  const auto accepts = [&](const storage::PatternMatch& match) {
    if (rule_.group.empty()) return true;
    if (!match.group) return false;
    return by_number ? parse_decimal(*match.group) == number
                     : stripped(*match.group) == stripped(expected);
  };
  double found = 0.0;
  pattern_->visit_matches(response, [&](const storage::PatternMatch& match) {
    if (accepts(match)) found += 1.0;
    return rule_.count || found == 0.0;
  });
  return found;
}

}  // namespace talaria::worker
