// SPDX-License-Identifier: Apache-2.0
// Encoding and decoding, GPT-2's own files, and hostile ones.
#include "storage/text/tokenizer.h"

#include <algorithm>
#include <map>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcre2.h>

#include "storage/text/byte_alphabet.h"
#include "storage/text/tokenizer_training.h"
#include "storage/text/utf8.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::message_of;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;

Tokenizer small_tokenizer(std::int64_t vocab = 600) {
  ThreadPool pool(1);
  const std::vector<std::string> texts = {test::random_prose(7, 60000)};
  return train_tokenizer(texts, vocab, pool);
}

std::vector<std::string> words_of(std::string_view text) {
  WordSplitter splitter(std::make_shared<WordPattern>());
  splitter.start(text);
  std::vector<std::string> words;
  for (std::string_view word; splitter.next(word);) words.emplace_back(word);
  return words;
}

// The same by GPT-2's pattern alone, on valid UTF-8.
std::vector<std::string> words_by_pattern(const std::string& text) {
  const std::string pattern =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{WSpace}\p{L}\p{N}]+)"
      R"(|\p{WSpace}+(?!\P{WSpace})|\p{WSpace}+)";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size(); at += words.back().size()) {
    const int rc = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0,
                               match, nullptr);
    if (rc < 0) fail("pcre2_match: {}", rc);
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
    words.push_back(text.substr(range[0], range[1] - range[0]));
  }
  pcre2_match_data_free(match);
  pcre2_code_free(code);
  return words;
}

// The definition, with no cleverness: the leftmost pair of the lowest rank, again and again.
std::vector<std::int32_t> encode_by_definition(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  for (const std::string& word : words_of(text)) {
    std::vector<std::uint32_t> symbols;
    for (const char c : word) {
      symbols.push_back(tokenizer.tables()->byte_ids[static_cast<std::uint8_t>(c)]);
    }
    while (true) {
      Merge best;
      std::size_t at = 0;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        const Merge merge = tokenizer.tables()->merges.find(symbols[i], symbols[i + 1]);
        if (merge.rank < best.rank) {
          best = merge;
          at = i;
        }
      }
      if (best.rank == Merge::kNoRank) break;
      symbols[at] = best.token;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }
  return ids;
}

TEST(WordSplitter, CutsAsGpt2Does) {
  EXPECT_THAT(words_of("I'll  see 12 cats!\n\nOK"),
              ElementsAre("I", "'ll", " ", " see", " 12", " cats", "!", "\n", "\n", "OK"));
  EXPECT_THAT(words_of("été ½x  "), ElementsAre("été", " ½", "x", "  "));
  // U+180E is no white space in Unicode 14, U+00A0 is.
  EXPECT_THAT(words_of("a\xE1\xA0\x8E\xC2\xA0"), ElementsAre("a", "\xE1\xA0\x8E", "\xC2\xA0"));
}

TEST(WordSplitter, EqualsThePatternOnMixedText) {
  const std::vector<std::string> pieces = {
      "a",      "Zz",     "hello",  " ",      "  ", "'",    "'s", "'ll", "'Re", "\n",
      "\t",     "7",      "42",     "é",      "ß",  "日本", "½",  "👋",   "!",   "<|",
      "\u00a0", "\u2003", "\u180e", "\u0301", "_",  "@",    "[",  "`",   "{",   "\x7f"};
  std::mt19937_64 random(6);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (auto n = random() % 40; n > 0; --n) text += pieces[random() % pieces.size()];
    ASSERT_EQ(words_of(text), words_by_pattern(text)) << text;
  }
}

TEST(WordSplitter, InvalidBytesAreWordsOfTheirOwn) {
  EXPECT_THAT(words_of("ab\xFF\xFE cd\xC3"), ElementsAre("ab", "\xFF\xFE", " cd", "\xC3"));
  EXPECT_THAT(words_of(std::string_view("\0a", 2)), ElementsAre(std::string(1, '\0'), "a"));
}

TEST(ByteAlphabet, IsABijectionInGpt2sOrder) {
  EXPECT_EQ(to_alphabet(" \n\xAD"), "ĠĊŃ");
  EXPECT_EQ(alphabet_order()[0], '!');
  EXPECT_EQ(alphabet_order()[255], 0xAD);
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(from_alphabet(to_alphabet(all)), all);
  EXPECT_FALSE(from_alphabet(" "));
  EXPECT_FALSE(from_alphabet("日"));
}

TEST(Tokenizer, RandomBytesComeBack) {
  const Tokenizer tokenizer = small_tokenizer();
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = test::random_bytes(random, random() % 400);
    // Text with bytes knocked out: nearly valid UTF-8 is the harder half.
    if (round % 2 == 1) {
      bytes = test::random_prose(random(), 300 + random() % 300);
      for (int i = 0; i < 5; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const std::vector<std::int32_t> ids = tokenizer.encode(bytes);
    ASSERT_EQ(tokenizer.decode(ids), bytes) << "round " << round;
    ASSERT_EQ(ids, encode_by_definition(tokenizer, bytes)) << "round " << round;
  }
}

TEST(Tokenizer, LongWordsMergeAsShortOnesAndInNLogN) {
  const Tokenizer tokenizer = small_tokenizer();
  std::mt19937_64 random(2);
  for (const std::size_t size : {63u, 64u, 65u, 66u, 300u, 1500u}) {
    std::string word;
    while (word.size() < size) word += "etaoin"[random() % 6];
    EXPECT_EQ(tokenizer.encode(word), encode_by_definition(tokenizer, word)) << size;
  }
  for (const char* unit : {"a", " ", "\n", "\xFF", "é", "!"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Tokenizer, EncodeAllDoesNotDependOnThreads) {
  const Tokenizer tokenizer = small_tokenizer();
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < 100; ++i) texts.push_back(test::random_prose(i % 37, 50 + 40 * i));
  ThreadPool one(1);
  const auto expected = tokenizer.encode_all(texts, one);
  for (const int threads : {2, 3, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(tokenizer.encode_all(texts, pool), expected);
  }
  EXPECT_EQ(expected[99], tokenizer.encode(texts[99]));
}

TEST(Tokenizer, EndOfTextIsNeverMadeFromText) {
  const Tokenizer tokenizer = small_tokenizer();
  EXPECT_EQ(tokenizer.end_of_text(), 599);
  EXPECT_THAT(tokenizer.encode("a<|endoftext|>b"), testing::Not(testing::Contains(599)));
  const std::vector<std::int32_t> end = {599};
  EXPECT_EQ(tokenizer.decode(end), "<|endoftext|>");
  EXPECT_EQ(tokenizer.token_lengths()[599], 0);
  EXPECT_EQ(tokenizer.token_lengths()[0], 1);
}

TEST(Tokenizer, DecodeRefusesForeignIds) {
  const Tokenizer tokenizer = small_tokenizer();
  const std::vector<std::int32_t> ids = {1, 2, 600};
  EXPECT_EQ(message_of<UsageError>([&] { tokenizer.decode(ids); }),
            "id 600 at position 2 is outside the vocabulary of 600 tokens");
}

TEST(Tokenizer, FilesRoundTrip) {
  const TempFolder folder;
  const Tokenizer trained = small_tokenizer();
  trained.save(folder / "tok");
  const Tokenizer loaded = Tokenizer::load(folder / "tok");
  EXPECT_EQ(loaded.fingerprint(), trained.fingerprint());
  EXPECT_EQ(loaded.end_of_text(), 599);
  const std::string text = test::random_prose(3, 20000);
  EXPECT_EQ(loaded.encode(text), trained.encode(text));
  EXPECT_THAT(read_file(folder / "tok" / "encoder.json"), HasSubstr("\"<|endoftext|>\": 599}"));
}

TEST(Gpt2, IdsAreGpt2s) {
  const auto files = test::shared_data("gpt2-bpe");
  TALARIA_NEEDS_SHARED(files);
  const Tokenizer gpt2 = Tokenizer::load(files);
  EXPECT_EQ(gpt2.vocab_size(), 50257);
  EXPECT_EQ(gpt2.end_of_text(), 50256);
  EXPECT_THAT(gpt2.encode("This is some text"), ElementsAre(1212, 318, 617, 2420));
  EXPECT_THAT(gpt2.encode("indivisible"), ElementsAre(521, 452, 12843));
  EXPECT_THAT(gpt2.encode("hello 👋 world 🌍"), ElementsAre(31373, 50169, 233, 995, 12520, 234, 235));
  std::mt19937_64 random(5);
  const std::string bytes = test::random_bytes(random, 5000);
  EXPECT_EQ(gpt2.decode(gpt2.encode(bytes)), bytes);
}

TEST(Gpt2, TinyShakespeareHasTheKnownIds) {
  const auto files = test::shared_data("gpt2-bpe");
  const auto text = test::shared_data("tinyshakespeare/input.txt");
  TALARIA_NEEDS_SHARED(files);
  TALARIA_NEEDS_SHARED(text);
  const std::vector<std::int32_t> ids = Tokenizer::load(files).encode(read_file(text));
  EXPECT_EQ(ids.size(), 338025u);
  std::string words;
  for (const std::int32_t id : ids) {
    words += static_cast<char>(id & 0xFF);
    words += static_cast<char>(id >> 8);
  }
  const TempFolder folder;
  EXPECT_EQ(test::sha256_of(folder.write("ids", words)),
            "25c01b32b32f41897a6359dd222ec114992dc30c357bcafbfe6c56672f76cd31");
}

TEST(Gpt2, AssemblingItsPartsWritesItsFiles) {
  const auto files = test::shared_data("gpt2-bpe");
  TALARIA_NEEDS_SHARED(files);
  const Tokenizer gpt2 = Tokenizer::load(files);
  std::map<std::string, std::uint32_t> ids;
  for (std::uint32_t id = 0; id < 50256; ++id) {
    ids.emplace(gpt2.bytes_of(static_cast<std::int32_t>(id)), id);
  }
  std::vector<MergeLine> merges;
  std::string text = read_file(files / "vocab.bpe");
  for (std::size_t at = text.find('\n') + 1; at < text.size();) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    const std::string left = *from_alphabet(line.substr(0, line.find(' ')));
    const std::string right = *from_alphabet(line.substr(line.find(' ') + 1));
    merges.push_back({ids.at(left), ids.at(right), ids.at(left + right)});
    at += line.size() + 1;
  }
  const Tokenizer again = Tokenizer::assemble(gpt2.tables()->tokens, merges, gpt2.end_of_text());
  EXPECT_EQ(again.tables()->encoder_json, read_file(files / "encoder.json"));
  EXPECT_EQ(again.tables()->vocab_bpe, text);
  EXPECT_EQ(again.fingerprint(), gpt2.fingerprint());
}

// A valid folder with 258 ids, then one thing broken in one of its files.
class HostileTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> texts = {"ababab"};
    ThreadPool pool(1);
    const Tokenizer tokenizer = train_tokenizer(texts, 258, pool);
    tokenizer.save(folder_.path());
    encoder_ = read_file(folder_ / "encoder.json");
    merges_ = read_file(folder_ / "vocab.bpe");
  }
  std::string complaint(const std::string& file, const std::string& content) {
    folder_.write(file, content);
    const std::string message = message_of<UsageError>([&] { Tokenizer::load(folder_.path()); });
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
    EXPECT_THAT(message, HasSubstr((folder_ / file).string()));
    return message;
  }
  std::string encoder_with(const std::string& from, const std::string& to) {
    std::string text = encoder_;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return complaint("encoder.json", text.replace(at, from.size(), to));
  }

  TempFolder folder_;
  std::string encoder_;
  std::string merges_;
};

TEST_F(HostileTokenizer, EncoderEntries) {
  EXPECT_THAT(encoder_with("\"b\": 65", "\"b\": 64"), HasSubstr("id 64 of \"b\" is taken already"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": 300"), HasSubstr("id 256 has no entry"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"b\": 256"), HasSubstr("a second entry \"b\""));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"a b\": 256"), HasSubstr("byte alphabet"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"\": 256"), HasSubstr("byte alphabet"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": -1"), HasSubstr("id -1 of \"ab\"; allowed"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": 99999999999"), HasSubstr("allowed are 0 .. "));
  EXPECT_THAT(encoder_with("\"b\": 65", "\"ba\": 65"), HasSubstr("for the byte 0x62"));
  EXPECT_THAT(encoder_with("<|endoftext|>", "abab"), HasSubstr("no entry \"<|endoftext|>\""));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"<|endoftext|>\": 256"), HasSubstr("a second entry"));
}

TEST_F(HostileTokenizer, BrokenJsonNamesTheOffset) {
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": x"), HasSubstr("the file is one JSON object"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": 2.5"), HasSubstr(":1: byte "));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\" 256"), HasSubstr(":1: byte "));
  EXPECT_THAT(complaint("encoder.json", ""), HasSubstr(":1: byte 0"));
  EXPECT_THAT(complaint("encoder.json", "[1, 2]"), HasSubstr("the file is one JSON object"));
  EXPECT_THAT(complaint("encoder.json", encoder_ + " x"), HasSubstr("after the closing brace"));
  EXPECT_THAT(complaint("encoder.json", encoder_ + "\xFF"), HasSubstr("encoder.json:1: byte"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"a\\qb\": 256"), HasSubstr("not an escape of JSON"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"a\\ud83d\": 256"), HasSubstr("above U+FFFF"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\xFF\": 256"), HasSubstr("not UTF-8"));
  EXPECT_THAT(encoder_with("\"ab\": 256", "\"ab\": 0256"), HasSubstr("leading zero"));
  for (std::size_t size = 0; size < encoder_.size(); size += 97) {
    EXPECT_NE(complaint("encoder.json", encoder_.substr(0, size)), "") << size;
  }
}

TEST_F(HostileTokenizer, Merges) {
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "a zz\n"),
              HasSubstr("vocab.bpe:3: byte 18: \"zz\" has no entry in encoder.json"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "b a\n"), HasSubstr("\"ba\" has no entry"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "a b\n"), HasSubstr("\"a b\" is there already"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "ab\n"), HasSubstr("one blank between"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "a b c\n"), HasSubstr("one blank between"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "a \n"), HasSubstr("byte alphabet"));
  EXPECT_THAT(complaint("vocab.bpe", merges_ + "a \xFF\n"), HasSubstr("byte alphabet"));
}

TEST_F(HostileTokenizer, MissingFiles) {
  std::filesystem::remove(folder_ / "vocab.bpe");
  const std::string message = message_of<UsageError>([&] { Tokenizer::load(folder_.path()); });
  EXPECT_THAT(message, HasSubstr("vocab.bpe: no such file; a tokenizer is a folder with"));
}

}  // namespace
}  // namespace talaria::storage
