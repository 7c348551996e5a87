// SPDX-License-Identifier: Apache-2.0
// Tokenizers of Hugging Face: the same ids there and back, and a refusal, by name, of each part
// that would give others.
#include "storage/exchange/hf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/exchange/json_reader.h"
#include "storage/text/byte_alphabet.h"
#include "tests/support/text_fixtures.h"
#include "tests/unit/exchange_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using talaria::test::TempFolder;
using test::refusal;
using testing::HasSubstr;

// 256 bytes, "ab", "abc", a blank with "a", <|endoftext|>, and two tokens of a chat.
Tokenizer small_tokenizer() {
  std::vector<std::string> tokens;
  for (const std::uint8_t byte : alphabet_order()) tokens.emplace_back(1, static_cast<char>(byte));
  const auto id = [&](char c) {
    for (std::uint32_t i = 0; i < 256; ++i) {
      if (tokens[i][0] == c) return i;
    }
    return 0U;
  };
  const std::vector<MergeLine> merges = {
      {id('a'), id('b'), 256}, {256, id('c'), 257}, {id(' '), id('a'), 258}};
  for (const char* token : {"ab", "abc", " a", "<|endoftext|>", "<|im_start|>", "[PAD] \"\\ \n"}) {
    tokens.emplace_back(token);
  }
  return Tokenizer::assemble(tokens, merges, 259);
}

std::string parsed(const std::string& text) {
  return refusal([&] { parse_hf_tokenizer(text, "t"); });
}

// hf_tokenizer_text of the small one with a piece in another form.
std::string with(const std::string& piece, const std::string& instead) {
  std::string text = hf_tokenizer_text(small_tokenizer());
  const std::size_t at = text.find(piece);
  EXPECT_NE(at, std::string::npos) << piece;
  return text.replace(at, piece.size(), instead);
}

void expect_same(const Tokenizer& a, const Tokenizer& b) {
  EXPECT_EQ(a.fingerprint(), b.fingerprint());
  EXPECT_EQ(a.end_of_text(), b.end_of_text());
  EXPECT_EQ(a.tables()->tokens, b.tables()->tokens);
  for (const char* text : {"abcab a abc", "", " \n\xC3\xA9\xFF", "<|im_start|>user"}) {
    EXPECT_EQ(a.encode(text), b.encode(text));
  }
}

TEST(HfTokenizer, TextThereAndBack) {
  const Tokenizer tokenizer = small_tokenizer();
  const std::string text = hf_tokenizer_text(tokenizer);
  expect_same(parse_hf_tokenizer(text, "t"), tokenizer);
  EXPECT_THAT(text, HasSubstr(R"({"id":259,"content":"<|endoftext|>",)"));
  EXPECT_THAT(text, HasSubstr(R"({"id":261,"content":"[PAD] \"\\ \u000a",)"));
  EXPECT_THAT(text, testing::Not(HasSubstr(R"({"id":258,)")));
  EXPECT_THAT(tokenizer.encode("abc"), testing::ElementsAre(257));
}

TEST(HfTokenizer, ReadsTheFormsThatAreAround) {
  const Tokenizer tokenizer = small_tokenizer();
  for (const std::string& text :
       {with(R"(["a b","ab c",)", R"([["a","b"],["ab","c"],)"), with(R"("type":"BPE",)", ""),
        with(R"("dropout":null)", R"("dropout":0.0)"),
        with(R"(,"byte_fallback":false)", R"(,"ignore_merges":false)"),
        with(R"(,"use_regex":true},"post)", R"(},"post)"), with(R"("version":"1.0",)", "")}) {
    expect_same(parse_hf_tokenizer(text, "t"), tokenizer);
  }
  // Added tokens that are not in the vocabulary, as tokenizers writes those that were added later.
  const std::string later = with(R"(,"<|im_start|>":260,"[PAD] \"\\ \u000a":261})", "}");
  expect_same(parse_hf_tokenizer(later, "t"), tokenizer);
}

TEST(HfTokenizer, RefusesWhatChangesIds) {
  const std::vector<std::array<std::string, 3>> cases = {
      {R"("normalizer":null)", R"("normalizer":{"type":"Lowercase"})",
       "normalizer: found Lowercase; allowed: null, as it would change ids"},
      {R"("truncation":null)", R"("truncation":{"max_length":5})",
       "truncation: found a part without a type; allowed: null, as it would change ids"},
      {R"("padding":null)", R"("padding":1)",
       "padding: found another kind of value; allowed: null, as it would change ids"},
      {R"("pre_tokenizer":{"type":"ByteLevel")", R"("pre_tokenizer":{"type":"Whitespace")",
       "pre_tokenizer: found Whitespace; allowed: ByteLevel, as it would change ids"},
      {R"("pre_tokenizer":{"type":"ByteLevel")", R"("pre_tokenizer":{"type":"Sequence")",
       "pre_tokenizer: found Sequence; allowed: ByteLevel, as it would change ids"},
      {R"("add_prefix_space":false)", R"("add_prefix_space":true)",
       "pre_tokenizer.add_prefix_space: found true; allowed: false"},
      {R"("use_regex":true)", R"("use_regex":false)",
       "pre_tokenizer.use_regex: found false; allowed: true"},
      {R"("post_processor":{"type":"ByteLevel")",
       R"("post_processor":{"type":"TemplateProcessing")",
       "post_processor: found TemplateProcessing; allowed: ByteLevel or null"},
      {R"("decoder":{"type":"ByteLevel")", R"("decoder":{"type":"WordPiece")",
       "decoder: found WordPiece; allowed: ByteLevel or null"},
      {R"("version":"1.0")", R"("extra":1)",
       "extra: found a part that is not known here; allowed: none, as it might change ids"},
      {R"("type":"BPE")", R"("type":"Unigram")", "model.type: found \"Unigram\"; allowed: \"BPE\""},
      {R"("dropout":null)", R"("dropout":0.1)",
       "model.dropout: found a number; allowed: null or 0"},
      {R"("continuing_subword_prefix":"")", R"("continuing_subword_prefix":"##")",
       "model.continuing_subword_prefix: found \"##\"; allowed: null or \"\""},
      {R"("end_of_word_suffix":"")", R"("end_of_word_suffix":"</w>")",
       "model.end_of_word_suffix: found \"</w>\"; allowed: null or \"\""},
      {R"("byte_fallback":false)", R"("byte_fallback":true)",
       "model.byte_fallback: found true; allowed: false, as it would change ids"},
      {R"("byte_fallback":false)", R"("ignore_merges":true)",
       "model.ignore_merges: found true; allowed: false, as it would change ids"},
      {R"("byte_fallback":false)", R"("new":1)",
       "model.new: found a key that is not known here; allowed: none, as it might change ids"},
      {R"("special":true)", R"("special":false)",
       "added_tokens: \"<|endoftext|>\" is not special, so it would be found in ordinary text; "
       "allowed: special tokens"}};
  for (const auto& [piece, instead, message] : cases) {
    EXPECT_THAT(parsed(with(piece, instead)), testing::MatchesRegex("t: byte [0-9]+: .*"));
    EXPECT_THAT(parsed(with(piece, instead)), testing::EndsWith(": " + message));
  }
}

TEST(HfTokenizer, RefusesABrokenVocabulary) {
  const std::vector<std::array<std::string, 3>> cases = {
      {R"("!":0)", R"("!":300)", "id 300 of \"!\"; allowed: 0 to 261, as there are 262 tokens"},
      {R"("!":0)", R"("!":-1)", "id -1 of \"!\"; allowed: 0 to 261, as there are 262 tokens"},
      {R"("!":0)", R"("!":1)", "id 1 of \"\"\" is taken already"},
      {R"("!":0)", R"("!":0,"!":0)", "the name \"!\" is there already"},
      {R"("!":0)", R"("!":0.5)", "expected a whole number"},
      {R"("!":0)", R"(" !":0)", "\" !\" is not written in GPT-2's byte alphabet"},
      {R"("!":0)", R"("!!":0)",
       "model.vocab: no entry \"!\" for the byte 0x21; all 256 are needed"},
      {R"("fuse_unk":false,"byte_fallback":false,"vocab":{)", R"("vocab":{},"fuse_unk":{)",
       "no model.vocab"},
      {R"("a b")", R"("a  b")", "the merge \"a  b\"; allowed: two tokens with one blank between"},
      {R"("a b")", R"("ab")", "the merge \"ab\"; allowed: two tokens with one blank between"},
      {R"("a b")", R"(["a"])", "a merge of fewer than two tokens"},
      {R"("a b")", R"(["a","b","c"])", "a merge of more than two tokens"},
      {R"("a b")", R"("a x")", "the merge of \"a\" and \"x\": \"ax\" has no entry in model.vocab"},
      {R"("a b")", R"("a b","a b")", "the merge of \"a\" and \"b\" is there already"},
      {R"("id":260,)", R"("id":258,)",
       "added_tokens: \"<|im_start|>\" has id 258, in model.vocab it has 260"},
      {R"("content":"<|im_start|>")", R"("content":"<|endoftext|>")",
       "a second added token \"<|endoftext|>\""},
      {R"("content":"<|im_start|>")", R"("content":"")", "an added token without content"}};
  for (const auto& [piece, instead, message] : cases) {
    EXPECT_THAT(parsed(with(piece, instead)), testing::MatchesRegex("t: byte [0-9]+: .*"));
    EXPECT_THAT(parsed(with(piece, instead)), testing::EndsWith(": " + message));
  }
  std::string none = hf_tokenizer_text(small_tokenizer());
  for (std::size_t at; (at = none.find("<|endoftext|>")) != std::string::npos;) {
    none.replace(at, 13, "<|theend|>");
  }
  EXPECT_THAT(parsed(none), HasSubstr("no token \"<|endoftext|>\""));
  EXPECT_THAT(parsed(R"({"model":{"vocab":{"a":0}}})"), HasSubstr("pre_tokenizer: missing"));
}

class HfFolder : public testing::Test {
 protected:
  void write_small() const { write_hf_tokenizer(small_tokenizer(), 64, folder_.path()); }
  std::string read() const {
    return refusal([&] { read_hf_tokenizer(folder_.path()); });
  }
  TempFolder folder_;
};

TEST_F(HfFolder, ThereAndBack) {
  EXPECT_FALSE(read_hf_tokenizer(folder_.path()).has_value());
  write_small();
  expect_same(read_hf_tokenizer(folder_.path()).value(), small_tokenizer());
  fs::remove(folder_ / "tokenizer.json");
  expect_same(read_hf_tokenizer(folder_.path()).value(), small_tokenizer());
  fs::remove(folder_ / "merges.txt");
  EXPECT_THAT(read(), HasSubstr("merges.txt: no such file, but vocab.json is there"));
  fs::remove(folder_ / "vocab.json");
  folder_.write("tokenizer.json", hf_tokenizer_text(small_tokenizer()));
  expect_same(read_hf_tokenizer(folder_.path()).value(), small_tokenizer());
}

TEST_F(HfFolder, ThePairMustAgree) {
  write_small();
  folder_.write("tokenizer.json", with(R"("a b","ab c")", R"("a b")"));
  EXPECT_THAT(read(), HasSubstr("tokenizer.json: disagrees with vocab.json and merges.txt"));
  // What only tokenizer.json has is added to it.
  folder_.write("tokenizer.json",
                with(R"("added_tokens":[)",
                     R"("added_tokens":[{"id":262,"content":"<|new|>","special":true},)"));
  EXPECT_EQ(read_hf_tokenizer(folder_.path())->vocab_size(), 263);
  fs::remove(folder_ / "tokenizer.json");
  folder_.write("added_tokens.json", "{}");
  EXPECT_THAT(read(), HasSubstr("added_tokens.json: added tokens without a tokenizer.json"));
}

TEST_F(HfFolder, OptionsBesideItAreJudged) {
  write_small();
  folder_.write("tokenizer_config.json", R"({"add_prefix_space": true})");
  EXPECT_THAT(read(), HasSubstr("tokenizer_config.json: byte 1: add_prefix_space: found true"));
  folder_.write("tokenizer_config.json", R"({"add_bos_token": true})");
  EXPECT_THAT(read(), HasSubstr("add_bos_token: found true; allowed: false"));
}

TEST_F(HfFolder, AWrongFileIsNamed) {
  write_small();
  fs::remove(folder_ / "tokenizer.json");
  folder_.write("merges.txt", "#version: 0.2\na x\n");
  EXPECT_THAT(read(), HasSubstr("merges.txt:2: byte 14: \"ax\" has no entry in vocab.json"));
}

TEST_F(HfFolder, Gpt2sOwn) {
  const fs::path real = talaria::test::shared_data("gpt2-bpe");
  TALARIA_NEEDS_SHARED(real);
  const Tokenizer gpt2 = Tokenizer::load(real);
  write_hf_tokenizer(gpt2, 1024, folder_.path());
  expect_same(read_hf_tokenizer(folder_.path()).value(), gpt2);
  fs::remove(folder_ / "vocab.json");
  fs::remove(folder_ / "merges.txt");
  expect_same(read_hf_tokenizer(folder_.path()).value(), gpt2);
}

}  // namespace
}  // namespace talaria::storage
