// SPDX-License-Identifier: Apache-2.0
// Text sources and `data prepare`: where documents end, what is refused, what is reused.
#include "storage/text/prepare.h"

#include <map>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <zstd.h>

#include "storage/text/progress.h"
#include "storage/text/token_file.h"
#include "storage/text/tokenizer.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::message_of;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> documents_in(const std::string& path, std::int64_t document_bytes,
                                      std::int64_t max_bad = 0) {
  BadLines bad(max_bad, true);
  DocumentReader reader(find_text_source(path).files[0], document_bytes, bad);
  std::vector<std::string> documents;
  for (std::string document; reader.next(document);) documents.push_back(document);
  return documents;
}

std::string zstd_of(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

TEST(Documents, EndAtBlankLinesOnceTheyAreLongEnough) {
  const TempFolder folder;
  const std::string path = folder.write("a.txt", "\n\none\ntwo\n\n \t\nthree\n\nfour\n\n\nfive");
  EXPECT_THAT(documents_in(path, 1), ElementsAre("one\ntwo\n", "three\n", "four\n", "five"));
  EXPECT_THAT(documents_in(path, 9), ElementsAre("one\ntwo\n\n \t\nthree\n", "four\n\n\nfive"));
  EXPECT_THAT(documents_in(path, 1000), ElementsAre("one\ntwo\n\n \t\nthree\n\nfour\n\n\nfive"));
  EXPECT_THAT(documents_in(folder.write("b.txt", "a\r\n\r\nb\r\n"), 1),
              ElementsAre("a\r\n", "b\r\n"));
}

TEST(Documents, TextWithoutBlankLinesIsCutAtLineEnds) {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "line " + std::to_string(i) + "\n";
  const auto documents = documents_in(folder.write("a.txt", text), 2048);
  ASSERT_EQ(documents.size(), 1 + text.size() / 32800);
  std::string joined;
  for (const std::string& document : documents) {
    EXPECT_EQ(document.back(), '\n');
    joined += document;
  }
  EXPECT_EQ(joined, text);
}

TEST(Documents, OneLongLineIsCutBetweenCharacters) {
  const TempFolder folder;
  for (const char* unit : {"x", "é", "日", "👋", "\xFF"}) {
    std::string text = "a";
    while (text.size() < 150000) text += unit;
    const auto documents = documents_in(folder.write("a.txt", text), 2048);
    ASSERT_EQ(documents.size(), 5u);
    std::string joined;
    for (const std::string& document : documents) {
      if (unit[0] != '\xFF') {
        EXPECT_NE(document[0] & 0xC0, 0x80) << unit;
      }
      joined += document;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(Documents, CompressedFilesReadTheSame) {
  const TempFolder folder;
  const std::string text = test::random_prose(3, 900000);
  const std::string plain = folder.write("a.txt", text);
  const auto expected = documents_in(plain, 2048);
  EXPECT_GT(expected.size(), 100u);
  // Two frames after each other are one text.
  const std::string frames = zstd_of(text.substr(0, 400000)) + zstd_of(text.substr(400000));
  EXPECT_EQ(documents_in(folder.write("b.txt.zst", frames), 2048), expected);
  const std::string cut = folder.write("c.txt.zst", frames.substr(0, frames.size() - 9));
  EXPECT_THAT(message_of<Error>([&] { documents_in(cut, 2048); }),
              HasSubstr(cut + ": byte " + std::to_string(frames.size() - 9)));
  const std::string broken = folder.write("d.txt.zst", "no zstd at all");
  EXPECT_THAT(message_of<Error>([&] { documents_in(broken, 2048); }),
              HasSubstr("near byte 0: zstd"));
}

TEST(Documents, JsonLines) {
  const TempFolder folder;
  const std::string path =
      folder.write("a.jsonl",
                   "\xEF\xBB\xBF{\"text\": \"one\\n\\u00e9\\ud83d\\ude00\"}\r\n\n{\"x\": [1], "
                   "\"text\": \"two\"}");
  EXPECT_THAT(documents_in(path, 2048), ElementsAre("one\né😀", "two"));
}

TEST(Documents, BadJsonLinesNameFileLineAndReason) {
  const TempFolder folder;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"text\": \"a\"", "broken JSON"},
      {"{\"text\": \"a\"} x", "broken JSON"},
      {"{\"text\": \"\\ud800\"}", "broken JSON"},
      {"{\"text\": \"\xFF\"}", "broken JSON"},
      {"[\"text\"]", "not a JSON object"},
      {"{\"Text\": \"a\"}", "the object has no \"text\""},
      {"{\"text\": 3}", "\"text\" is no string"},
      {"{\"text\": \"\"}", "\"text\" is empty"}};
  for (const auto& [line, reason] : cases) {
    const std::string path =
        folder.write("a.jsonl", "{\"text\": \"good\"}\n" + line + "\n{\"text\": \"too\"}\n");
    EXPECT_THAT(message_of<UsageError>([&] { documents_in(path, 2048); }),
                HasSubstr(path + ":2: " + reason));
    EXPECT_THAT(documents_in(path, 2048, 1), ElementsAre("good", "too"));
  }
}

TEST(TextSource, NamesAndFolders) {
  const TempFolder folder;
  folder.write("books/b/two.txt", "2");
  folder.write("books/one.jsonl", "{}");
  folder.write("books/a.txt.zst", "x");
  folder.write("books/picture.png", "x");
  const TextSource books = find_text_source((folder / "books").string() + "/");
  EXPECT_EQ(books.name, "books");
  ASSERT_EQ(books.files.size(), 3u);
  EXPECT_TRUE(books.files[0].zstd && !books.files[0].jsonl);
  EXPECT_EQ(books.files[1].path.filename(), "two.txt");
  EXPECT_TRUE(books.files[2].jsonl);
  EXPECT_EQ(find_text_source((folder / "books/a.txt.zst").string()).name, "a");
  EXPECT_EQ(find_text_source("x.1=" + (folder / "books").string()).name, "x.1");
}

TEST(TextSource, SaysWhatIsWrong) {
  const TempFolder folder;
  const auto complaint = [](const std::string& argument) {
    return message_of<UsageError>([&] { find_text_source(argument); });
  };
  EXPECT_THAT(complaint("/no/text.txt"), HasSubstr("source /no/text.txt: no such file or folder"));
  EXPECT_THAT(complaint(folder.write("e.txt", "")), HasSubstr("e.txt: empty, there is no text"));
  EXPECT_THAT(complaint(folder.write("p.pdf", "x")), HasSubstr("a source ends in .txt, .jsonl"));
  std::filesystem::create_directory(folder / "none");
  EXPECT_THAT(complaint((folder / "none").string()), HasSubstr("the folder has no file"));
  EXPECT_THAT(complaint("a/b=" + (folder / "p.pdf").string()), HasSubstr("the name \"a/b\""));
  EXPECT_THAT(complaint(folder.write("a b.txt", "x")), HasSubstr("the name \"a b\""));
}

class Prepare : public testing::Test {
 protected:
  Prepare() {
    options_.out = folder_ / "out";
    options_.vocab = 400;
    options_.threads = 2;
    options_.document_bytes = 500;
    std::string lines;
    for (std::uint64_t i = 0; i < 30; ++i) {
      lines += "{\"text\": \"number " + std::to_string(i) + " of them\"}\n";
    }
    options_.sources = {folder_.write("prose.txt", test::random_prose(1, 60000)),
                        "lines=" + folder_.write("l.jsonl", lines)};
  }
  // Every file below the output folder, by name.
  std::map<std::string, std::string> outcome(const std::filesystem::path& out) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
      if (!entry.is_regular_file()) continue;
      files[entry.path().lexically_relative(out).string()] = read_file(entry.path());
    }
    return files;
  }
  std::string complaint() {
    return message_of<UsageError>([&] { prepare(options_); });
  }

  TempFolder folder_;
  PrepareOptions options_;
  std::mt19937_64 random_{8};
};

TEST_F(Prepare, MakesATokenizerAndATokenFileASource) {
  const PrepareResult result = prepare(options_);
  EXPECT_FALSE(result.reused);
  EXPECT_EQ(result.vocab, 400);
  const Tokenizer tokenizer = Tokenizer::load(options_.out / "tokenizer");
  EXPECT_EQ(tokenizer.fingerprint(), result.tokenizer);
  ASSERT_EQ(result.sources.size(), 2u);
  EXPECT_EQ(result.sources[1].file, options_.out / "lines.tok");
  const auto expected = documents_in(options_.sources[0], 500);
  const TokenFile file(result.sources[0].file);
  file.verify();
  EXPECT_EQ(file.tokenizer(), result.tokenizer);
  ASSERT_EQ(file.documents().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TokenDocument& document = file.documents()[i];
    std::vector<std::int32_t> ids(document.token_count);
    file.read(static_cast<std::int64_t>(document.first_token), ids);
    EXPECT_EQ(tokenizer.decode(ids), expected[i] + "<|endoftext|>");
    EXPECT_EQ(document.content_hash, content_hash(expected[i]));
    EXPECT_EQ(document.text_bytes, expected[i].size());
  }
  EXPECT_EQ(result.sources[1].documents, 30);
  EXPECT_THAT(outcome(options_.out), testing::SizeIs(5));  // no temporary file is left
}

TEST_F(Prepare, ASecondCallReusesAndAgainDoesNot) {
  const PrepareResult first = prepare(options_);
  const auto files = outcome(options_.out);
  const auto made = stamp_of(options_.out / "prose.tok");
  options_.threads = 1;  // changes nothing in the result
  const PrepareResult second = prepare(options_);
  EXPECT_TRUE(second.reused);
  EXPECT_EQ(second.tokenizer, first.tokenizer);
  ASSERT_EQ(second.sources.size(), 2u);
  EXPECT_EQ(second.sources[0].tokens, first.sources[0].tokens);
  EXPECT_EQ(second.sources[0].documents, first.sources[0].documents);
  EXPECT_EQ(stamp_of(options_.out / "prose.tok"), made);
  options_.again = true;
  EXPECT_FALSE(prepare(options_).reused);
  EXPECT_NE(stamp_of(options_.out / "prose.tok"), made);
  EXPECT_EQ(outcome(options_.out), files);
}

TEST_F(Prepare, ThreadsDoNotChangeAByte) {
  prepare(options_);
  const auto expected = outcome(options_.out);
  for (const int threads : {1, 5}) {
    options_.out = folder_ / ("threads" + std::to_string(threads));
    options_.threads = threads;
    prepare(options_);
    EXPECT_EQ(outcome(options_.out), expected);
  }
}

TEST_F(Prepare, ChangedInputOrOptionsAreMadeAnew) {
  prepare(options_);
  const auto anew = [&](auto&& change) {
    const PrepareOptions before = options_;
    change();
    const bool made = !prepare(options_).reused;
    EXPECT_TRUE(prepare(options_).reused);
    options_ = before;
    return made;
  };
  EXPECT_TRUE(anew([&] { options_.vocab = 401; }));
  EXPECT_TRUE(anew([&] { options_.document_bytes = 501; }));
  EXPECT_TRUE(anew([&] { options_.sources.pop_back(); }));
  EXPECT_TRUE(anew([&] { std::swap(options_.sources[0], options_.sources[1]); }));
  EXPECT_TRUE(anew([&] { folder_.write("prose.txt", test::random_prose(2, 60000)); }));
}

TEST_F(Prepare, DamagedOrMissingResultsAreMadeAnew) {
  prepare(options_);
  const auto expected = outcome(options_.out);
  for (const auto& [name, content] : expected) {
    std::string damaged = content;
    damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 1);
    const bool ids = name.ends_with(".tok");  // a flipped id is found by verify, not by opening
    folder_.write("out/" + name, ids ? content.substr(0, content.size() - 1) : damaged);
    EXPECT_FALSE(prepare(options_).reused) << name;
    EXPECT_EQ(outcome(options_.out), expected) << name;
    std::filesystem::remove(options_.out / name);
    EXPECT_FALSE(prepare(options_).reused) << name;
    EXPECT_EQ(outcome(options_.out), expected) << name;
  }
}

TEST_F(Prepare, WhatFailedIsNotTakenForFinished) {
  prepare(options_);
  folder_.write("l.jsonl", "{\"text\": \"fine\"}\nbroken\n");
  EXPECT_THAT(complaint(), HasSubstr("l.jsonl:2: broken JSON"));
  EXPECT_THAT(complaint(), HasSubstr("no bad lines are allowed (--max-bad)"));
  EXPECT_FALSE(std::filesystem::exists(options_.out / "prepare.json"));
  options_.max_bad = 1;
  const PrepareResult result = prepare(options_);
  EXPECT_FALSE(result.reused);
  EXPECT_EQ(result.sources[1].bad_lines, 1);
  EXPECT_EQ(prepare(options_).sources[1].bad_lines, 1);
}

TEST_F(Prepare, TakesAGivenTokenizer) {
  prepare(options_);
  const std::string fingerprint = Tokenizer::load(options_.out / "tokenizer").fingerprint();
  options_.tokenizer = options_.out / "tokenizer";
  options_.out = folder_ / "second";
  options_.sources = {folder_.write("other.txt", test::random_bytes(random_, 5000))};
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(result.tokenizer, fingerprint);
  EXPECT_EQ(TokenFile(result.sources[0].file).tokenizer(), fingerprint);
  EXPECT_TRUE(prepare(options_).reused);
}

TEST_F(Prepare, RefusesWhatCannotBe) {
  options_.sources = {folder_.write("blank.txt", " \n\n\t\n")};
  EXPECT_THAT(complaint(), HasSubstr("blank.txt: there is no text in it"));
  options_.sources = {folder_.write("a.txt", "x"), folder_.write("b/a.txt", "y")};
  EXPECT_THAT(complaint(), HasSubstr("a second source is named \"a\""));
  options_.sources = {};
  EXPECT_THAT(complaint(), HasSubstr("no source is given"));
  options_.sources = {folder_.write("a.txt", "too little")};
  EXPECT_THAT(complaint(), HasSubstr("vocabulary of 400: the text has repeated pairs for"));
  options_.vocab = 256;
  EXPECT_THAT(complaint(), HasSubstr("--vocab 256: allowed are 257"));
  options_.vocab = 300;
  options_.document_bytes = 0;
  EXPECT_THAT(complaint(), HasSubstr("--document-bytes 0"));
  options_.document_bytes = 10;
  options_.tokenizer = folder_ / "none";
  EXPECT_THAT(complaint(), HasSubstr("none/encoder.json: no such file"));
  options_.out = folder_ / "a.txt";
  EXPECT_THAT(complaint(), HasSubstr("is a file; give a folder"));
}

TEST_F(Prepare, OneAtATimeInAFolder) {
  std::filesystem::create_directory(options_.out);
  const UniqueFd holder = open_file(options_.out, O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(holder.get(), LOCK_EX), 0);
  EXPECT_THAT(complaint(), HasSubstr("another `data prepare` is at work there"));
  ASSERT_EQ(::flock(holder.get(), LOCK_UN), 0);
  EXPECT_FALSE(prepare(options_).reused);
}

TEST(ByteProgress, SaysShareSpeedAndTimeLeft) {
  const ByteProgress progress("encoding", 40'000'000);
  EXPECT_EQ(progress.line(10'000'000, 2.0), " 25 % of 40.0 MB, 5.0 MB/s, 0:06 left");
  EXPECT_EQ(progress.line(40'000'000, 8000.0), "100 % of 40.0 MB, 0.0 MB/s, 0:00 left");
  EXPECT_EQ(progress.line(0, 0), "  0 % of 40.0 MB, 0.0 MB/s, ? left");
}

}  // namespace
}  // namespace talaria::storage
