// SPDX-License-Identifier: Apache-2.0
// Rewards from a rule instead of a model: text in, number out. PPO adds it, weighted, to the score
// of a response. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "storage/text/text_pattern.h"

namespace talaria::worker {

// kind:
//   exact   1 where the response is the expected answer, else 0; white space (ASCII's) around both
//           is stripped
//   match   the number of matches of `pattern`; with `group` only those whose capture group 1 is
//           the expected answer. GSM8K's "#### 42": pattern = '####\s*(\S+)\s*\z', group =
//           "number", count = false. Without \z a response that tries many answers scores too.
//   share   matches of `pattern` over matches of `of`; 0 where there are none of `of`. Above 1
//           where there are more of the first.
struct RewardRule {
  std::string kind;
  std::string pattern;
  std::string of;
  // text: equal as in `exact`; number: equal as decimal numbers, commas between digits left out
  // ("1,000", "1000.0"), what is no finite number being equal to nothing. "": not compared.
  std::string group;
  bool count = true;  // of match: false gives 1 where there is a match
};

// A rule ready to score. Thread-safe: any number of threads may call score() at once.
class RuleReward {
 public:
  // UsageError, which begins with `where` ("job.toml:12: ppo.rule"), for an unknown kind or group,
  // a key that the kind lacks or does not know, a pattern that is none.
  RuleReward(const RewardRule& rule, std::string_view where);

  // Whether score() compares with `expected`, so that every prompt must have one.
  bool needs_expected() const { return rule_.kind == "exact" || !rule_.group.empty(); }
  // UsageError, which begins with `place` ("file:line"), where score() could not compare with
  // `expected`.
  void check(std::string_view expected, std::string_view place) const;

  // Any bytes. `expected` does not matter unless needed; Error where check() refuses it, or where a
  // pattern takes too long (storage::TextPattern).
  double score(std::string_view response, std::string_view expected) const;

 private:
  double matches(const storage::TextPattern& pattern, std::string_view response) const;
  double accepted_matches(std::string_view response, std::string_view expected) const;
  // What keeps `expected` from being compared with, and what is allowed; "" where nothing does.
  std::string fault_of(std::string_view expected) const;

  RewardRule rule_;
  std::optional<storage::TextPattern> pattern_;
  std::optional<storage::TextPattern> of_;
};

}  // namespace talaria::worker
