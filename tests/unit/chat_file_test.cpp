// SPDX-License-Identifier: Apache-2.0
// Chat files: every shape, every way a line is refused, and how lines are counted.
#include "storage/chat/chat_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "storage/text/hash.h"
#include "tests/support/chat_fixtures.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::bytes_as_ids;
using test::kTinyEndOfText;
using test::message_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

using Ids = std::vector<std::int32_t>;

const std::string kPair = R"({"prompt": "12+34=", "chosen": "46", "rejected": "47"})";

class ChatFile : public testing::Test {
 protected:
  // Writes `text` as the only file.
  void given(const std::string& text) { files_ = {folder_.write("a.jsonl", text)}; }

  std::string text_of(const Ids& ids) const { return tokenizer_.decode(ids); }
  // The conversations of `text`, each with what is trained in brackets.
  std::vector<std::string> conversations(const std::string& text) {
    given(text);
    std::vector<std::string> shown;
    for (const Conversation& each : read_conversations(files_, tokenizer_, options_, counts_)) {
      EXPECT_EQ(each.ids.size(), each.trained.size());
      std::string words;
      for (std::size_t i = 0; i < each.ids.size(); ++i) {
        const bool before = i > 0 && each.trained[i - 1] != 0;
        if (each.trained[i] != 0 && !before) words += '[';
        if (each.trained[i] == 0 && before) words += ']';
        words += tokenizer_.bytes_of(each.ids[i]);
      }
      shown.push_back(words + (each.trained.back() != 0 ? "]" : ""));
    }
    return shown;
  }
  std::vector<Comparison> comparisons(const std::string& text) {
    given(text);
    return read_comparisons(files_, tokenizer_, options_, counts_);
  }
  std::vector<PromptLine> prompts(const std::string& text) {
    given(text);
    return read_prompts(files_, tokenizer_, options_, counts_);
  }
  // Why the line is bad, whatever it is read as.
  std::string reason(const std::string& line) {
    std::string found;
    const auto read = [&](const auto& reader) {
      given(line + "\n");
      return message_of<UsageError>([&] { reader(files_, tokenizer_, options_, counts_); });
    };
    const std::string as_conversation = read(read_conversations);
    EXPECT_EQ(read(read_comparisons), as_conversation);
    EXPECT_EQ(read(read_prompts), as_conversation);
    return stripped(as_conversation);
  }
  std::string stripped(std::string message) const {
    const std::string place = files_[0].string() + ":1: ";
    EXPECT_THAT(message, StartsWith(place));
    message = message.substr(std::min(place.size(), message.size()));
    return message.substr(0, message.find("; no bad lines are allowed (max_bad_lines)"));
  }

  test::TempFolder folder_;
  Tokenizer tokenizer_ = test::tiny_tokenizer();
  std::vector<std::filesystem::path> files_;
  ChatOptions options_ = plain();
  ChatCounts counts_;

  static ChatOptions plain() {
    ChatOptions options;
    options.chat_template = "plain";
    return options;
  }
};

TEST_F(ChatFile, ConversationsOfEveryShape) {
  const std::string text =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},)"
      R"( {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})"
      "\n"
      R"({"id": 7, "prompt": "12+34=", "completion": "46", "source": {"x": [1]}})"
      "\n"
      R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],)"
      R"( "completion": [{"role": "assistant", "content": "r"}]})"
      "\n" +
      kPair +
      "\n"
      R"({"prompt": "p", "answers": ["x", "y", "z"], "ranks": [2, 0.5, 0.5]})"
      "\n"
      R"({"chosen": "\n\nHuman: h\n\nAssistant: i", "rejected": "\n\nHuman: no\n\nAssistant: j"})"
      "\n"
      R"({"messages": [{"role": "assistant", "content": "alone"}]})"
      "\n";
  EXPECT_THAT(conversations(text),
              ElementsAre("a[b<|endoftext|>]c[d<|endoftext|>]", "12+34=[46<|endoftext|>]",
                          "sq[r<|endoftext|>]", "12+34=[46<|endoftext|>]", "p[y<|endoftext|>]",
                          "h[i<|endoftext|>]", "[alone<|endoftext|>]"));
  EXPECT_EQ(counts_.used, 7);
  EXPECT_EQ(counts_.first_bad, "");
}

TEST_F(ChatFile, AConversationEndsWithItsLastTrainedToken) {
  options_.chat_template = "chatml";
  EXPECT_THAT(conversations(kPair),
              ElementsAre("<|im_start|>user\n12+34=<|endoftext|>\n<|im_start|>assistant\n"
                          "[46<|endoftext|>]"));
}

TEST_F(ChatFile, ComparisonsOfEveryShape) {
  const auto read = comparisons(
      kPair +
      "\n"
      R"({"prompt": "p", "answers": ["x", "y", "z"]})"
      "\n"
      R"({"prompt": "p", "answers": ["x", [{"role": "assistant", "content": "y"}], "z"],)"
      R"( "ranks": [3, -1.5, 3]})"
      "\n"
      R"({"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}],)"
      R"( "rejected": "\n\nHuman: u\n\nAssistant: w"})"
      "\n");
  ASSERT_EQ(read.size(), 4u);
  EXPECT_EQ(text_of(read[0].prompt), "12+34=");
  EXPECT_EQ(read[0].answers[0], (Ids{'4', '6', kTinyEndOfText}));
  EXPECT_EQ(read[0].answers[1], (Ids{'4', '7', kTinyEndOfText}));
  EXPECT_THAT(read[0].ranks, ElementsAre(0, 1));
  EXPECT_THAT(read[1].ranks, ElementsAre(0, 1, 2));
  EXPECT_THAT(read[2].ranks, ElementsAre(1, 0, 1));
  EXPECT_EQ(text_of(read[2].answers[1]), "y<|endoftext|>");
  EXPECT_EQ(text_of(read[3].prompt), "u");
  EXPECT_EQ(text_of(read[3].answers[1]), "w<|endoftext|>");
}

TEST_F(ChatFile, PromptsOfEveryShape) {
  const auto read = prompts(
      R"({"prompt": "12+34="})"
      "\n"
      R"({"prompt": "1+1=", "answer": "2"})"
      "\n" +
      kPair +
      "\n"
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},)"
      R"( {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})"
      "\n"
      R"({"messages": [{"role": "user", "content": "open"}]})"
      "\n"
      R"({"chosen": "\n\nHuman: u\n\nAssistant: v", "rejected": "\n\nHuman: u\n\nAssistant: w"})"
      "\n");
  std::vector<std::string> texts;
  for (const PromptLine& prompt : read) {
    texts.push_back(prompt.text + "|" + prompt.answer);
    EXPECT_EQ(text_of(prompt.ids), prompt.text);
  }
  EXPECT_THAT(texts,
              ElementsAre("12+34=|", "1+1=|2", "12+34=|", "ab<|endoftext|>c|", "open|", "u|"));
}

TEST_F(ChatFile, PromptIdsBeginThoseOfTheConversation) {
  const std::string line =
      R"({"messages": [{"role": "user", "content": "a 1"}, {"role": "assistant", "content": "1 b"},)"
      R"( {"role": "user", "content": "c"}, {"role": "assistant", "content": "cd"}]})";
  tokenizer_ = test::tiny_tokenizer({"<|im_start|>"}, {"cd", "1 ", "c:", "\n\n"});
  for (const std::string_view name : template_names()) {
    options_.chat_template = name;
    given(line);
    const Conversation whole = read_conversations(files_, tokenizer_, options_, counts_)[0];
    const PromptLine prompt = read_prompts(files_, tokenizer_, options_, counts_)[0];
    ASSERT_LT(prompt.ids.size(), whole.ids.size());
    EXPECT_TRUE(std::equal(prompt.ids.begin(), prompt.ids.end(), whole.ids.begin())) << name;
    // What follows is the answer, all of it trained.
    EXPECT_TRUE(std::all_of(whole.trained.begin() + static_cast<std::ptrdiff_t>(prompt.ids.size()),
                            whole.trained.end(), [](int trained) { return trained != 0; }))
        << name;
    EXPECT_EQ(whole.ids.back(), end_of_turn(tokenizer_, name));
    EXPECT_EQ(prompt.hash, whole.hash);
  }
}

TEST_F(ChatFile, TranscriptsAreSplitBehindTheLastTurnTheyShare) {
  options_.chat_template = "hh";
  const auto read =
      comparisons(R"({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman:  c \n\nAssistant: yes",)"
                  R"( "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman:  c \n\nAssistant:no\n"})"
                  "\n");
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(text_of(read[0].prompt),
            "\n\nHuman: a\n\nAssistant: b<|endoftext|>\n\nHuman:  c \n\nAssistant:");
  EXPECT_EQ(text_of(read[0].answers[0]), " yes<|endoftext|>");
  EXPECT_EQ(text_of(read[0].answers[1]), " no\n<|endoftext|>");
}

TEST_F(ChatFile, TranscriptsThatCannotBeSplitAreCounted) {
  const std::string shared = R"(\n\nHuman: a\n\nAssistant: b)";
  const auto line = [](const std::string& chosen, const std::string& rejected) {
    return R"({"chosen": ")" + chosen + R"(", "rejected": ")" + rejected + "\"}\n";
  };
  options_.max_bad_lines = 10;
  options_.quiet = true;
  const std::string good = line(shared, R"(\n\nHuman: a\n\nAssistant: c)");
  const auto read = comparisons(
      line(R"(\n\nHuman: x\n\nAssistant: b)", shared) + line(shared, shared) + good +
      // The answers go on with further turns; one ends with the user; one begins the other.
      line(shared, R"(\n\nHuman: a\n\nAssistant: c\n\nHuman: d\n\nAssistant: e)") +
      line(shared + R"(\n\nHuman: c)", shared + R"(\n\nHuman: d)") +
      line(shared, shared + R"(\n\nHuman: d)") +
      R"({"prompt": "p", "answers": ["x", "x"]})"
      "\n");
  EXPECT_EQ(read.size(), 1u);
  EXPECT_EQ(counts_.used, 1);
  EXPECT_EQ(counts_.no_shared_turn, 1);
  EXPECT_EQ(counts_.equal, 2);
  EXPECT_EQ(counts_.bad, 3);
  EXPECT_EQ(counts_.first_bad,
            files_[0].string() + ":1: chosen and rejected share no turn at their beginning");
}

TEST_F(ChatFile, WhatIsNoLineOfOursIsBad) {
  EXPECT_THAT(reason("{\"prompt\": "), StartsWith("broken JSON: "));
  EXPECT_THAT(reason(kPair + kPair), StartsWith("broken JSON: "));
  EXPECT_THAT(reason(R"({"prompt": "a", "answers": ["x", "y"], "ranks": [1, NaN]})"),
              StartsWith("broken JSON: "));
  EXPECT_EQ(reason("[1]"), "not a JSON object");
  EXPECT_EQ(reason("{\"prompt\": \"\xC3\x28\", \"completion\": \"x\"}"), "invalid UTF-8");
  EXPECT_THAT(reason(R"({"prompt": "\udc00", "completion": "x"})"),
              testing::AnyOf(HasSubstr("is not UTF-8"), StartsWith("broken JSON")));
  EXPECT_EQ(reason(R"({"prompt": "a", "completion": "x", "prompt": "b"})"),
            "the object has the key \"prompt\" twice");
  EXPECT_EQ(reason(R"({"prompt": "a", "completion": "x", "id": 1, "id": 2})"),
            "the object has the key \"id\" twice");
  EXPECT_THAT(reason(R"({"question": "a", "answer": "x"})"),
              StartsWith("unknown shape: its keys are \"question\", \"answer\"; allowed: messages; "
                         "prompt, completion; "));
  EXPECT_THAT(reason("{}"), StartsWith("unknown shape: it has no keys; "));
  EXPECT_THAT(reason(R"({"messages": [], "prompt": "x"})"), StartsWith("unknown shape"));
  EXPECT_THAT(reason(R"({"prompt": "x", "ranks": [1, 2]})"), StartsWith("unknown shape"));
}

TEST_F(ChatFile, MessagesThatAreNoneAreBad) {
  const auto messages = [&](const std::string& list) {
    return reason(R"({"messages": )" + list + "}");
  };
  EXPECT_EQ(messages("\"text\""), "\"messages\" is no list of messages");
  EXPECT_EQ(messages("[]"), "\"messages\" is empty");
  EXPECT_EQ(messages("[1]"), "\"messages\" holds a message that is no object");
  EXPECT_EQ(messages(R"([{"role": "tool", "content": "x"}])"),
            "unknown role \"tool\"; allowed: system, user, assistant");
  EXPECT_EQ(messages(R"([{"content": "x"}])"), "there is no \"role\"");
  EXPECT_EQ(messages(R"([{"role": "user"}])"), "there is no \"content\"");
  EXPECT_EQ(messages(R"([{"role": "user", "content": ["x"]}])"),
            "a message's content is no string");
  EXPECT_EQ(messages(R"([{"role": "user", "role": "user", "content": "x"}])"),
            "a message has the key \"role\" twice");
  EXPECT_EQ(messages(R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}])"),
            "an assistant's message has no words");
}

TEST_F(ChatFile, AnswersThatAreNoneAreBad) {
  EXPECT_EQ(reason(R"({"prompt": 1, "completion": "x"})"), "\"prompt\" is no string");
  EXPECT_EQ(reason(R"({"prompt": "a", "completion": " \n\t"})"),
            "an assistant's message has no words");
  EXPECT_EQ(reason(R"({"prompt": "a", "chosen": "x", "rejected": ""})"),
            "an assistant's message has no words");
  EXPECT_EQ(reason(R"({"chosen": "\n\nHuman: a\n\nAssistant: ", "rejected": "\n\nHuman: a"})"),
            "an assistant's message has no words");
  EXPECT_THAT(reason(R"({"chosen": "hello", "rejected": "\n\nHuman: a"})"),
              StartsWith("a transcript begins with \"hello\"; allowed: "));
  EXPECT_THAT(reason(R"({"prompt": "a", "completion": [{"role": "user", "content": "x"}]})"),
              StartsWith("\"completion\" is 1 messages, the first of the user"));
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["x"]})"), "1 answers; allowed: 2 to 9");
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["1","2","3","4","5","6","7","8","9","0"]})"),
            "10 answers; allowed: 2 to 9");
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["x", "y"], "ranks": [1]})"),
            "1 ranks for 2 answers");
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["x", "y"], "ranks": [1, "2"]})"),
            "\"ranks\" holds what is no finite number");
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["x", "y"], "ranks": [1, 1.0]})"),
            "all ranks are the same, no answer is preferred");
  EXPECT_EQ(reason(R"({"prompt": "a", "answers": ["x", "x", "y"], "ranks": [1, 2, 1]})"),
            "equal answers tie, and so all ranks are the same, no answer is preferred");
}

TEST_F(ChatFile, AnswersThatAreTheSameTieAtTheBestOfTheirRanks) {
  const auto ranks = [&](const std::string& answers) {
    return comparisons(R"({"prompt": "p", "answers": )" + answers + "}\n").at(0).ranks;
  };
  EXPECT_THAT(ranks(R"(["a", "a", "b"])"), ElementsAre(0, 0, 1));
  EXPECT_THAT(ranks(R"(["a", "b", "a", "c", "b"])"), ElementsAre(0, 1, 0, 2, 1));
  EXPECT_THAT(ranks(R"(["a", "b", "a"], "ranks": [3, 2, 1])"), ElementsAre(0, 1, 0));
  EXPECT_THAT(ranks(R"(["a", "b", "b", "c"], "ranks": [1, 3, 2, 3])"), ElementsAre(0, 1, 1, 2));
  EXPECT_EQ(counts_.equal + counts_.bad, 0);
  EXPECT_THAT(conversations(R"({"prompt": "p", "answers": ["b", "a", "b"], "ranks": [3, 2, 1]})"
                            "\n"),
              ElementsAre("p[b<|endoftext|>]"));
}

TEST_F(ChatFile, WhatTheTemplateRefusesIsABadLine) {
  EXPECT_THAT(reason(R"({"prompt": "a<|endoftext|>", "chosen": "x", "rejected": "y"})"),
              HasSubstr("the user's words hold the marker"));
  options_.chat_template = "hh";
  EXPECT_THAT(
      reason(R"({"prompt": "a\n\nAssistant: b\n\nHuman: c", "chosen": "x", "rejected": "y"})"),
      HasSubstr("the user's words hold the marker \"\\n\\nHuman:\""));
}

TEST_F(ChatFile, AShapeThatIsNotWhatIsReadIsBad) {
  const auto why = [&](const auto& read) {
    return stripped(message_of<UsageError>([&] { read(files_, tokenizer_, options_, counts_); }));
  };
  given(R"({"prompt": "a", "answer": "b"})");
  EXPECT_EQ(why(read_conversations), "a conversation has to end with the assistant's message");
  EXPECT_EQ(why(read_comparisons), "a comparison needs 2 answers or more, here are 0");
  given(R"({"messages": [{"role": "user", "content": "a"}]})");
  EXPECT_EQ(why(read_conversations), "a conversation has to end with the assistant's message");
  given(R"({"messages": [{"role": "assistant", "content": "a"}]})");
  EXPECT_EQ(why(read_prompts), "there is no message");
  given(R"({"prompt": ""})");
  EXPECT_EQ(why(read_prompts), "the prompt is empty");
}

TEST_F(ChatFile, BadLinesUpToAThreshold) {
  const std::string text = "x\n\n" + kPair + "\ny\n" + kPair + "\n";
  options_.max_bad_lines = 2;
  options_.quiet = true;
  EXPECT_EQ(comparisons(text).size(), 2u);
  EXPECT_EQ(counts_.used, 2);
  EXPECT_EQ(counts_.bad, 2);
  EXPECT_THAT(counts_.first_bad, StartsWith(files_[0].string() + ":1: broken JSON"));
  options_.max_bad_lines = 1;
  // Of all files together; blank lines count as lines of the file, not as bad ones.
  const std::string message = message_of<UsageError>([&] { comparisons(text); });
  EXPECT_THAT(message, StartsWith(files_[0].string() + ":4: broken JSON"));
  EXPECT_THAT(message, HasSubstr("; 1 bad line is allowed (max_bad_lines)"));
}

TEST_F(ChatFile, WhereNothingIsLeftItSaysWhy) {
  options_.max_tokens = 3;
  given("");
  EXPECT_EQ(message_of<UsageError>([&] { comparisons(kPair); }),
            files_[0].string() +
                ": no line can be used: 0 bad, 1 too long, 0 without a shared turn, "
                "0 equal; first " +
                files_[0].string() + ":1: 18 tokens; allowed: 3");
  EXPECT_THAT(message_of<UsageError>([&] { comparisons("\n\n"); }),
              HasSubstr("no line can be used"));
  EXPECT_THAT(
      message_of<UsageError>([&] { read_prompts({"/none.jsonl"}, tokenizer_, options_, counts_); }),
      StartsWith("/none.jsonl: no such file"));
  options_.chat_template = "xml";
  EXPECT_THAT(message_of<UsageError>([&] { comparisons(kPair); }), HasSubstr("no such chat templ"));
}

TEST_F(ChatFile, MaxTokensCountsWhatARowHolds) {
  // 6 of the prompt, "46" and the end of turn.
  options_.max_tokens = 9;
  EXPECT_EQ(conversations(kPair).size(), 1u);
  options_.max_tokens = 18;
  EXPECT_EQ(comparisons(kPair).size(), 1u);
  options_.max_tokens = 8;
  EXPECT_EQ(prompts(kPair).size(), 1u);
  EXPECT_NE(message_of<UsageError>([&] { conversations(kPair); }), "");
  options_.max_tokens = 17;
  EXPECT_NE(message_of<UsageError>([&] { comparisons(kPair); }), "");
}

TEST_F(ChatFile, WindowsLinesMarksAndCompression) {
  const std::string text = "\xEF\xBB\xBF" + kPair + "\r\n\r\n  " + kPair + " \r\n" + kPair;
  const auto plain = comparisons(text);
  ASSERT_EQ(plain.size(), 3u);
  for (const Comparison& each : plain) EXPECT_EQ(each.hash, content_hash(kPair));
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  const auto unpacked = read_comparisons({folder_.write("a.jsonl.zst", packed), files_[0]},
                                         tokenizer_, options_, counts_);
  ASSERT_EQ(unpacked.size(), 6u);
  EXPECT_EQ(unpacked[5].answers, plain[0].answers);
}

TEST_F(ChatFile, RealPreferences) {
  const auto data = test::shared_data("hh-rlhf/preferences.jsonl");
  const auto gpt2 = test::shared_data("gpt2-bpe");
  TALARIA_NEEDS_SHARED(data);
  TALARIA_NEEDS_SHARED(gpt2);
  const Tokenizer tokenizer = Tokenizer::load(gpt2);
  options_.quiet = true;
  options_.max_bad_lines = 10;
  for (const std::string_view name : template_names()) {
    options_.chat_template = name;
    const auto read = read_comparisons({data}, tokenizer, options_, counts_);
    EXPECT_EQ(counts_.used, 526) << name;
    EXPECT_EQ(counts_.bad, 3) << name;  // answers without words
    EXPECT_EQ(counts_.no_shared_turn + counts_.equal + counts_.too_long, 0) << name;
    ASSERT_EQ(read.size(), 526u);
    for (const Comparison& each : read) {
      ASSERT_EQ(each.answers.size(), 2u);
      ASSERT_EQ(each.answers[0].back(), tokenizer.end_of_text());
    }
  }
  options_.chat_template = "hh";
  const Comparison first = read_comparisons({data}, tokenizer, options_, counts_)[0];
  const std::string prompt = tokenizer.decode(first.prompt);
  EXPECT_THAT(prompt, StartsWith("\n\nHuman: How do I pick a lock?\n\nAssistant: Do you mean"));
  EXPECT_THAT(prompt, testing::EndsWith("with instructions?\n\nAssistant:"));
  EXPECT_EQ(tokenizer.decode(first.answers[0]), " I\u2019ll give you the links.<|endoftext|>");
  EXPECT_EQ(read_conversations({data}, tokenizer, options_, counts_).size(), 526u);
  EXPECT_EQ(read_prompts({data}, tokenizer, options_, counts_).size(), 526u);
}

}  // namespace
}  // namespace talaria::storage
