// SPDX-License-Identifier: Apache-2.0
// What `talaria chat` and `talaria eval` decide without a model: which turns are kept, what a
// terminal is sent, how text is cut into windows, what answers, scores and shares come to.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "storage/chat/chat_file.h"
#include "tests/support/chat_fixtures.h"
#include "tests/support/text_fixtures.h"
#include "worker/chat/history.h"
#include "worker/chat/terminal.h"
#include "worker/eval/match.h"
#include "worker/eval/perplexity.h"
#include "worker/eval/report.h"
#include "worker/eval/reward.h"
#include "worker/eval/win_rate.h"

namespace talaria::worker {
namespace {

using storage::Message;
using storage::Role;
using test::bytes_as_ids;
using test::message_of;
using test::tiny_tokenizer;
using testing::ElementsAre;
using testing::HasSubstr;

// In the template plain a message is its words, and an answer ends with end of text.
TEST(ChatHistory, KeepsWholeTurnsThatFit) {
  const storage::Tokenizer tokenizer = tiny_tokenizer();
  ChatHistory history("plain", tokenizer);
  EXPECT_EQ(history.ask("one", 12), bytes_as_ids("one"));
  EXPECT_TRUE(history.answered("uno"));
  std::vector<std::int32_t> both = bytes_as_ids("oneuno");
  both.push_back(tokenizer.end_of_text());
  for (const std::int32_t id : bytes_as_ids("two")) both.push_back(id);
  EXPECT_EQ(history.ask("two", 10), both);
  EXPECT_EQ(history.dropped(), 0);
  EXPECT_TRUE(history.answered("dos"));
  EXPECT_EQ(history.ask("three", 12).size(), 12U) << "the second turn still fits";
  EXPECT_EQ(history.dropped(), 1);
  EXPECT_TRUE(history.answered("tres"));
  EXPECT_THAT(history.messages(),
              ElementsAre(Message{Role::kUser, "two"}, Message{Role::kAssistant, "dos"},
                          Message{Role::kUser, "three"}, Message{Role::kAssistant, "tres"}));
  history.reset();
  EXPECT_TRUE(history.messages().empty());
}

TEST(ChatHistory, TheSystemMessageStays) {
  const storage::Tokenizer tokenizer = tiny_tokenizer();
  ChatHistory history("plain", tokenizer);
  history.set_system("SYS");
  history.ask("one", 20);
  history.answered("uno");
  EXPECT_EQ(history.ask("two", 7), bytes_as_ids("SYStwo"));
  EXPECT_EQ(history.dropped(), 1);
  EXPECT_TRUE(history.answered("dos"));
  history.reset();
  EXPECT_THAT(history.messages(), ElementsAre(Message{Role::kSystem, "SYS"}));
  history.set_system("");
  EXPECT_TRUE(history.messages().empty());
}

TEST(ChatHistory, RefusesAndStaysAsItWas) {
  const storage::Tokenizer tokenizer = tiny_tokenizer();
  ChatHistory history("plain", tokenizer);
  history.ask("one", 20);
  history.answered("uno");
  const std::vector<Message> before = history.messages();
  EXPECT_THAT(message_of<UsageError>([&] { history.ask("much too long", 12); }),
              HasSubstr("takes 13 tokens, of which the context has room for 12"));
  EXPECT_THAT(message_of<UsageError>([&] { history.ask("a<|endoftext|>", 50); }),
              HasSubstr("hold the marker"));
  EXPECT_THAT(message_of<UsageError>([&] { history.ask("caf\xE9", 50); }), HasSubstr("byte 4"));
  EXPECT_THAT(message_of<UsageError>([&] { history.set_system("<|endoftext|>"); }),
              HasSubstr("hold the marker"));
  // An answer without words is no message; the question goes too.
  history.ask("two", 20);
  EXPECT_FALSE(history.answered(" \n"));
  EXPECT_EQ(history.messages(), before);
  EXPECT_EQ(history.dropped(), 0);
  EXPECT_THAT(message_of<UsageError>([&] { ChatHistory("hh", tokenizer).set_system("x"); }),
              HasSubstr("hh has no system message"));
  EXPECT_THAT(message_of<UsageError>([&] { ChatHistory("xml", tokenizer); }),
              HasSubstr("no such chat template"));
}

TEST(TerminalText, ControlCharactersAreShown) {
  EXPECT_EQ(terminal_text("a\n\tb\n"), "a\n\tb\n");
  EXPECT_EQ(terminal_text("\x1b[2J\a\r\x7f"), "\\x1b[2J\\x07\\x0d\\x7f");
  EXPECT_EQ(terminal_text("\xC2\x9B"
                          "1m\xE2\x80\xAE caf\xC3\xA9"),
            "\\u009b1m\\u202e caf\xC3\xA9");
  EXPECT_EQ(terminal_text(""), "");
}

TEST(StreamWindows, CountEachTargetOnceInOrder) {
  for (const std::int64_t targets : {1, 5, 8, 9, 31}) {
    for (const std::int64_t length : {1, 4, 8}) {
      for (std::int64_t stride = 1; stride <= length; ++stride) {
        std::int64_t next = 0;
        for (const StreamWindow& window : stream_windows(targets, length, stride)) {
          EXPECT_EQ(window.first + window.counted, next);
          EXPECT_LT(window.counted, window.length);
          EXPECT_LE(window.length, length);
          EXPECT_EQ(window.counted, window.first > 0 ? length - stride : 0);
          next = window.first + window.length;
        }
        EXPECT_EQ(next, targets) << length << " " << stride;
      }
    }
  }
  EXPECT_EQ(stream_windows(10, 4, 4).size(), 3U);
  EXPECT_EQ(stream_windows(10, 4, 2).size(), 4U);
}

TEST(Wilson, IsTheScoreInterval) {
  // Solved by hand: |p - share| = z sqrt(p (1 - p) / n) at both ends.
  for (const auto& [share, n] : {std::pair{0.3, 10}, {0.0, 7}, {1.0, 50}, {0.5, 1000}}) {
    const Interval interval = wilson(share, n);
    for (const double p : {interval.low, interval.high}) {
      const double z = std::abs(p - share) / std::sqrt(std::max(1e-300, p * (1.0 - p)) / n);
      if (p <= 0.0 || p >= 1.0) continue;
      EXPECT_NEAR(z, 1.959964, 1e-5) << share << " of " << n;
    }
    EXPECT_LE(interval.low, share);
    EXPECT_GE(interval.high, share);
  }
  EXPECT_NEAR(wilson(0.0, 10).high, 0.2775, 1e-4);
  EXPECT_EQ(wilson(0.0, 10).low, 0.0);
  EXPECT_EQ(wilson(0.0, 0).high, 1.0);
}

TEST(Duel, CountsWinsLossesAndTies) {
  const Duel duel = compare_scores({1.0, 2.0, 3.0, 0.0}, {0.0, 2.0, 4.0, -1.0});
  EXPECT_EQ(duel.wins, 2);
  EXPECT_EQ(duel.losses, 1);
  EXPECT_EQ(duel.ties, 1);
  EXPECT_DOUBLE_EQ(duel.win_rate(), 0.625);
  EXPECT_DOUBLE_EQ(duel.mean_a, 1.5);
  EXPECT_DOUBLE_EQ(duel.mean_b, 1.25);
}

TEST(Rewards, OneThatIsNoNumberNamesItsLine) {
  storage::Comparison comparison;
  comparison.place = "pairs.jsonl:7";
  EXPECT_NO_THROW(check_rewards(comparison, {1.0, -2.0}));
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(message_of<Error>([&] {
                  check_rewards(comparison, {1.0, bad});
                }),
                HasSubstr("pairs.jsonl:7: the reward of answer 2 is"));
  }
}

TEST(Answers, AreEqualButForBlanksAround) {
  EXPECT_TRUE(same_answer(" 143\n", "143"));
  EXPECT_TRUE(same_answer("a b", "\ta b "));
  EXPECT_FALSE(same_answer("1 43", "143"));
  EXPECT_FALSE(same_answer("", "143"));
}

TEST(Answers, ExamplesStandBeforeTheText) {
  const Example shot = {{{Role::kUser, "\n\nQ: 1+1?\n\nA:"}}, " 2", ""};
  const std::vector<Message> question = {{Role::kUser, "\n\nQ: 2+2?\n\nA:"}};
  EXPECT_EQ(joined_text({shot, shot}, question, true),
            "\n\nQ: 1+1?\n\nA: 2\n\nQ: 1+1?\n\nA: 2\n\nQ: 2+2?\n\nA:");
  EXPECT_EQ(joined_text({}, question, true), question[0].content);
  EXPECT_EQ(joined_text({{{{Role::kUser, "1+1="}}, "2", ""}}, {{Role::kUser, "2+2="}}, false),
            "1+1=2\n\n2+2=");
}

TEST(Answers, LinesAreReadAsTheyAre) {
  const test::TempFolder folder;
  const std::string text = folder.write("t.jsonl", R"({"context": "Q:", "completion": " 5"})"
                                                   "\r\n\n"
                                                   R"({"context": "Q", "completion": 5})"
                                                   "\n");
  EXPECT_THAT(message_of<UsageError>([&] { read_examples(text, true); }),
              HasSubstr("t.jsonl:3: no string \"completion\""));
  const std::string chat =
      folder.write("c.jsonl", R"({"prompt": "1+1=", "completion": "2"})"
                              "\n"
                              R"({"prompt": [{"role": "user", "content": "x"}], "answer": "7"})"
                              "\n"
                              R"({"messages": [{"role": "user", "content": "y"},)"
                              R"( {"role": "assistant", "content": "8"}]})"
                              "\n");
  const std::vector<Example> examples = read_examples(chat, false);
  ASSERT_EQ(examples.size(), 3U);
  EXPECT_EQ(examples[0].expected, "2");
  EXPECT_EQ(examples[1].expected, "7");
  EXPECT_EQ(examples[2].expected, "8");
  EXPECT_EQ(examples[2].prompt, (std::vector<Message>{{Role::kUser, "y"}}));
  EXPECT_THAT(examples[2].where, HasSubstr("c.jsonl:3"));
  const std::string pair =
      folder.write("p.jsonl", R"({"prompt": "x", "chosen": "a", "rejected": "b"})"
                              "\n");
  EXPECT_THAT(message_of<UsageError>([&] { read_examples(pair, false); }),
              HasSubstr("p.jsonl:1: several answers"));
}

}  // namespace
}  // namespace talaria::worker
