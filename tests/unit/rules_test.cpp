// SPDX-License-Identifier: Apache-2.0
// Rewards from rules, and the patterns of strangers under them: what they find, what they refuse,
// and that nothing hangs.
#include "worker/rules.h"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "storage/text/text_pattern.h"

namespace talaria::worker {
namespace {

using storage::PatternMatch;
using storage::TextPattern;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kGsm8k = R"(####\s*(\S+)\s*\z)";

RewardRule match_rule(std::string pattern, std::string group = "", bool count = true) {
  return {"match", std::move(pattern), "", std::move(group), count};
}

double score(const RewardRule& rule, std::string_view response, std::string_view expected = "") {
  return RuleReward(rule, "t").score(response, expected);
}

template <class Failure>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "no error";
}

std::string refusal(const RewardRule& rule) {
  return message_of<UsageError>([&] { RuleReward(rule, "job.toml:12: ppo.rule"); });
}

std::vector<std::string> found(const std::string& pattern, std::string_view text) {
  std::vector<std::string> all;
  TextPattern(pattern, "t").visit_matches(text, [&](const PatternMatch& match) {
    all.emplace_back(match.text);
    return all.size() < 100;
  });
  return all;
}

TEST(TextPattern, FindsWhatPerlFinds) {
  EXPECT_THAT(found("a+", "aabaaa"), ElementsAre("aa", "aaa"));
  EXPECT_THAT(found("a*", "baac"), ElementsAre("", "aa", "", ""));
  EXPECT_THAT(found("|a", "a"), ElementsAre("", "a", ""));
  EXPECT_THAT(found("", "né"), ElementsAre("", "", ""));
  EXPECT_THAT(found("(?<=a)b", "abab"), ElementsAre("b", "b"));
  EXPECT_THAT(found("a\\K", "aa"), ElementsAre("", ""));
  EXPECT_THAT(found("^.", "ab\ncd"), ElementsAre("a"));
  EXPECT_THAT(found("(?m)^.", "ab\ncd"), ElementsAre("a", "c"));
  EXPECT_THAT(found("x", ""), ElementsAre());
  EXPECT_THAT(found("b", std::string_view("a\0b", 3)), ElementsAre("b"));
}

TEST(TextPattern, SeesCharactersAndSkipsWhatIsNoUtf8) {
  EXPECT_THAT(found(".", "é漢"), ElementsAre("é", "漢"));
  EXPECT_THAT(found("[a-z]+",
                    "ab\xFF\x80"
                    "cd\xC3"),
              ElementsAre("ab", "cd"));
  EXPECT_THAT(found(".",
                    "\xFF"
                    "a\x80\x80"),
              ElementsAre("a"));
  EXPECT_THAT(found("\\d", "1\u0661"), ElementsAre("1"));
  EXPECT_THAT(found("(*UCP)\\d", "1\u0661"), ElementsAre("1", "\u0661"));
}

TEST(TextPattern, GivesGroupOne) {
  const TextPattern pattern("(a)?b", "t");
  EXPECT_EQ(pattern.groups(), 1);
  std::vector<std::string> groups;
  pattern.visit_matches("abb", [&](const PatternMatch& match) {
    groups.emplace_back(match.group ? *match.group : "none");
    return true;
  });
  EXPECT_THAT(groups, ElementsAre("a", "none"));
}

TEST(TextPattern, StopsWhereTheVisitorSaysSo) {
  int visits = 0;
  TextPattern("a", "t").visit_matches("aaaa", [&](const PatternMatch&) { return ++visits < 2; });
  EXPECT_EQ(visits, 2);
}

TEST(TextPattern, NamesTheByteOfAFault) {
  const auto fault = [](const std::string& pattern) {
    return message_of<UsageError>([&] { TextPattern(pattern, "job.toml:3: pattern"); });
  };
  EXPECT_EQ(fault("ab(c"),
            "job.toml:3: pattern: \"ab(c\" is no pattern: missing closing parenthesis at byte 4; "
            "PCRE2 patterns are allowed");
  EXPECT_THAT(fault("a**+b"), HasSubstr("at byte"));
  EXPECT_THAT(fault("x\xFF"), HasSubstr("UTF-8"));
  EXPECT_THAT(fault("a\\C"), HasSubstr("at byte"));
  EXPECT_THAT(fault("(?<=a+)b"), HasSubstr("at byte"));
  EXPECT_THAT(fault("((a{1000}){1000}){1000}"), HasSubstr("too large"));
  EXPECT_THAT(fault("\n("), HasSubstr("\"\\n(\""));  // one line, whatever the pattern has
}

// Every one of these takes exponential, or at least hopeless, time in a matcher without limits.
TEST(TextPattern, HopelessPatternsEndWithAnError) {
  const std::string many_a(40, 'a');
  struct Case {
    std::string pattern;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"(a+)+$", many_a + "b"},
      {"(a|aa)+$", many_a + "b"},
      {"(a|a?)+$", many_a + "b"},
      {"(.*)*(.*)*[^y]", std::string(500, 'y')},
      {"^(([a-z])+.)+[A-Z]([a-z])+$", std::string(60, 'a')},
      {"(*NO_JIT)(a+)+$", many_a + "b"},
      {"(a+)+\\1$", many_a + "b"},
      // Each match costs little, all of them too much.
      {"(?:a{1,12}){1,3}b|a", std::string(20000, 'a')},
      {"(?=(.*)(.*)(.*)z)|.", std::string(3000, 'y')},
      // Each step is one, but a long one.
      {"[ab]*+c|a", std::string(200000, 'a')},
  };
  for (const Case& one : cases) {
    const TextPattern compiled(one.pattern, "t");
    const auto begin = std::chrono::steady_clock::now();
    const std::string message = message_of<Error>(
        [&] { compiled.visit_matches(one.text, [](const PatternMatch&) { return true; }); });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_THAT(message, AllOf(StartsWith("pattern \""), HasSubstr("match limit exceeded"),
                               HasSubstr("(at most 5000000)")))
        << one.pattern;
    EXPECT_LT(took.count(), 20.0) << one.pattern;
    RecordProperty("seconds of " + one.pattern.substr(0, 8), std::to_string(took.count()));
  }
}

TEST(TextPattern, DeepRecursionNeedsNoDeepStack) {
  // The JIT's stack is too small for this; the interpreter's heap is not.
  const std::string nested = std::string(5000, '(') + std::string(5000, ')');
  EXPECT_THAT(found(R"(\((?:[^()]++|(?R))*+\))", nested), ElementsAre(nested));
  // Where the heap is too small as well, that is said.
  EXPECT_THAT(message_of<Error>([] { found("^(?:(a)|b)*$", std::string(2'000'000, 'a')); }),
              HasSubstr("heap limit exceeded"));
}

TEST(TextPattern, LookAroundsThatMoveTheMatchAreRefused) {
  EXPECT_THAT(message_of<Error>([] { found("(?=(?1))a|(ab\\K)", "abab"); }),
              HasSubstr("write it without \\K"));
}

TEST(RuleReward, Exact) {
  const RewardRule rule = {"exact", "", "", "", true};
  EXPECT_EQ(score(rule, " 42\n", "42"), 1.0);
  EXPECT_EQ(score(rule, "42", "\t42 "), 1.0);
  EXPECT_EQ(score(rule, "4 2", "42"), 0.0);
  EXPECT_EQ(score(rule, "42.0", "42"), 0.0);
  EXPECT_EQ(score(rule, "", "42"), 0.0);
  EXPECT_TRUE(RuleReward(rule, "t").needs_expected());
}

TEST(RuleReward, MatchCounts) {
  EXPECT_EQ(score(match_rule("please"), "please, oh please"), 2.0);
  EXPECT_EQ(score(match_rule("please", "", false), "please, oh please"), 1.0);
  EXPECT_EQ(score(match_rule("please", "", false), "no"), 0.0);
  EXPECT_FALSE(RuleReward(match_rule("x"), "t").needs_expected());
}

TEST(RuleReward, MatchComparesTheGroup) {
  const RewardRule text = match_rule("<(.*?)>", "text");
  EXPECT_EQ(score(text, "<a> < b > <c> <b>", "b"), 2.0);
  EXPECT_EQ(score(match_rule("<(.*?)>", "text", false), "<a> <b> <b>", "b"), 1.0);
  EXPECT_EQ(score(match_rule("(x)?y", "text"), "y xy", "x"), 1.0);
  EXPECT_TRUE(RuleReward(text, "t").needs_expected());
}

TEST(RuleReward, Gsm8k) {
  const RewardRule rule = match_rule(kGsm8k, "number", false);
  EXPECT_EQ(score(rule, "6 * 7 = 42\n#### 42\n", "42"), 1.0);
  EXPECT_EQ(score(rule, "#### 43", "42"), 0.0);
  EXPECT_EQ(score(rule, "#### 1,000", "1000"), 1.0);
  EXPECT_EQ(score(rule, "#### 1000.00", "1,000"), 1.0);
  EXPECT_EQ(score(rule, "#### -5", "-5"), 1.0);
  EXPECT_EQ(score(rule, "#### +5", "5"), 1.0);
  EXPECT_EQ(score(rule, "#### +-5", "-5"), 0.0);
  EXPECT_EQ(score(rule, "#### 5,", "5"), 0.0);
  EXPECT_EQ(score(rule, "#### $5", "5"), 0.0);
  EXPECT_EQ(score(rule, "#### nan", "5"), 0.0);
  EXPECT_EQ(score(rule, "####", "5"), 0.0);
  // Guessing often does not help.
  EXPECT_EQ(score(rule, "#### 41\n#### 42\n#### 43", "42"), 0.0);
}

TEST(RuleReward, Share) {
  const RewardRule vowels = {"share", "[aeiou]", "[a-z]", "", true};
  EXPECT_EQ(score(vowels, "aabb"), 0.5);
  EXPECT_EQ(score(vowels, "1234"), 0.0);
  EXPECT_EQ(score(vowels, ""), 0.0);
  EXPECT_EQ(score({"share", "a", "b", "", true}, "aab"), 2.0);
}

TEST(RuleReward, WrongRulesAreRefused) {
  const std::string where = "job.toml:12: ppo.rule";
  EXPECT_EQ(refusal({"exakt", "", "", "", true}),
            where +
                ": kind \"exakt\" is unknown; allowed are exact, match or share; did you mean "
                "exact?");
  EXPECT_EQ(refusal({"match", "", "", "", true}),
            where + ": kind \"match\" needs `pattern`, a PCRE2 pattern");
  EXPECT_EQ(refusal({"share", "a", "", "", true}),
            where + ": kind \"share\" needs `of`, a PCRE2 pattern");
  EXPECT_EQ(refusal({"exact", "a", "", "", true}),
            where + ": kind \"exact\" knows no `pattern`; leave it out");
  EXPECT_THAT(refusal({"match", "a", "b", "", true}), HasSubstr("knows no `of`"));
  EXPECT_THAT(refusal({"share", "a", "b", "text", true}), HasSubstr("knows no `group`"));
  EXPECT_THAT(refusal({"exact", "", "", "", false}), HasSubstr("knows no `count`"));
  EXPECT_THAT(refusal(match_rule("a", "numbr")), HasSubstr("did you mean number?"));
  EXPECT_THAT(refusal(match_rule("a", "number")), HasSubstr("has none; put ( ) around"));
  EXPECT_THAT(refusal(match_rule("(a")), StartsWith(where + ": pattern: \"(a\" is no pattern"));
  EXPECT_THAT(refusal({"share", "a", "[", "", true}), StartsWith(where + ": of: \"[\""));
}

TEST(RuleReward, AnAnswerThatCannotBeComparedWithIsRefusedWithItsPlace) {
  const auto fault = [](const RewardRule& rule, std::string_view expected) {
    return message_of<UsageError>([&] { RuleReward(rule, "t").check(expected, "a.jsonl:7"); });
  };
  const RewardRule exact = {"exact", "", "", "", true};
  const RewardRule number = match_rule("(x)", "number");
  EXPECT_EQ(fault(exact, ""),
            "a.jsonl:7: no \"answer\", with which a rule of kind \"exact\" compares; allowed: an "
            "answer that is not blank");
  EXPECT_THAT(
      fault(match_rule("(x)", "text"), " \t"),
      StartsWith("a.jsonl:7: the \"answer\" is blank, with which a rule of kind \"match\""));
  EXPECT_THAT(fault(number, "\n"), HasSubstr("is blank"));
  EXPECT_EQ(fault(number, "ten\n"),
            "a.jsonl:7: the \"answer\" \"ten\\n\" is no number, and the rule compares numbers; "
            "allowed: a decimal number (1,000 or -2.5), or a rule that compares text");
  EXPECT_THAT(fault(number, "nan"), HasSubstr("is no number"));
  for (const char* good : {"1,000", " -2.5\n", "+7"}) EXPECT_EQ(fault(number, good), "no error");
  EXPECT_EQ(fault(exact, "ten"), "no error");
  EXPECT_EQ(fault(match_rule("(x)"), ""), "no error");
  EXPECT_EQ(fault({"share", "a", "b", "", true}, " "), "no error");
}

TEST(RuleReward, AMissingExpectedAnswerIsAnError) {
  const auto fault = [](const RewardRule& rule, std::string_view expected) {
    return message_of<Error>([&] { score(rule, "x", expected); });
  };
  EXPECT_THAT(fault({"exact", "", "", "", true}, " "),
              StartsWith("the prompt: the \"answer\" is blank"));
  EXPECT_THAT(fault(match_rule("(x)", "text"), ""), StartsWith("the prompt: no \"answer\""));
  EXPECT_THAT(fault(match_rule("(x)", "number"), "ten"), HasSubstr("\"ten\" is no number"));
  EXPECT_EQ(fault(match_rule("(x)"), ""), "no error");
}

TEST(RuleReward, ManyThreadsScoreAtOnce) {
  const RuleReward rule(match_rule(R"(\b(\w+)\b)", "text"), "t");
  const std::string text = "one two three two one two";
  std::vector<std::thread> threads;
  std::vector<double> sums(4);
  threads.reserve(sums.size());
  for (double& sum : sums) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) sum += rule.score(text, "two");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(sums, testing::Each(1500.0));
}

}  // namespace
}  // namespace talaria::worker
