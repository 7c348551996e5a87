// SPDX-License-Identifier: Apache-2.0
// Token files: what is written is read, and no cut and no flipped byte goes unseen.
#include "storage/text/token_file.h"

#include <cstring>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::message_of;
using test::TempFolder;
using testing::HasSubstr;

constexpr const char* kFingerprint = "00112233445566778899aabbccddeeff";

std::vector<std::vector<std::int32_t>> random_documents(std::uint64_t seed, std::int32_t vocab) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<std::int32_t>> documents(20);
  for (auto& ids : documents) {
    ids.resize(random() % 50);
    for (auto& id : ids)
      id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab));
  }
  return documents;
}

std::string text_of(std::size_t document) { return std::string(document * 3 + 1, 'x'); }

std::string write_tokens(const std::filesystem::path& path, std::int32_t vocab,
                         std::uint64_t seed = 1) {
  TokenFileWriter writer(path, vocab, vocab - 1, kFingerprint);
  const auto documents = random_documents(seed, vocab);
  for (std::size_t i = 0; i < documents.size(); ++i) writer.add(text_of(i), documents[i]);
  writer.commit();
  return path.string();
}

// Opens and verifies; the complaint, or "".
std::string complaint(const std::string& path) {
  const std::string message = message_of<Error>([&] { TokenFile(path).verify(); });
  if (!message.empty()) {
    EXPECT_THAT(message, HasSubstr(path));
  }
  return message;
}

TEST(TokenFile, HoldsWhatWasWritten) {
  const TempFolder folder;
  for (const std::int32_t vocab : {300, 65536, 65537, 200000}) {
    const TokenFile file(write_tokens(folder / "a.tok", vocab));
    const auto expected = random_documents(1, vocab);
    EXPECT_EQ(file.header().id_bytes, vocab <= 65536 ? 2u : 4u);
    EXPECT_EQ(file.vocab_size(), vocab);
    EXPECT_EQ(file.tokenizer(), kFingerprint);
    ASSERT_EQ(file.documents().size(), expected.size());
    std::int64_t tokens = 0;
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const TokenDocument& document = file.documents()[i];
      EXPECT_EQ(document.content_hash, content_hash(text_of(i)));
      EXPECT_EQ(document.text_bytes, text_of(i).size());
      std::vector<std::int32_t> ids(document.token_count);
      file.read(static_cast<std::int64_t>(document.first_token), ids);
      ASSERT_FALSE(ids.empty());
      EXPECT_EQ(ids.back(), vocab - 1);
      ids.pop_back();
      EXPECT_EQ(ids, expected[i]);
      tokens += static_cast<std::int64_t>(document.token_count);
      bytes += static_cast<std::int64_t>(document.text_bytes);
    }
    EXPECT_EQ(file.token_count(), tokens);
    EXPECT_EQ(file.text_bytes(), bytes);
    file.verify();
  }
}

TEST(TokenFile, LiesOnDiskAsDocumented) {
  const TempFolder folder;
  TokenFileWriter writer(folder / "a.tok", 300, 299, kFingerprint);
  writer.add("ab", std::vector<std::int32_t>{1, 258});
  writer.commit();
  const std::string bytes = read_file(folder / "a.tok");
  ASSERT_EQ(bytes.size(), 128u + 8 + 32);
  EXPECT_EQ(bytes.substr(0, 8), "TALARTOK");
  const auto number = [&](std::size_t at, std::size_t width) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, width);
    return value;
  };
  const std::vector<std::uint64_t> longs = {300, 299, 3, 1, 2, 136, 168, 0};
  for (std::size_t i = 0; i < longs.size(); ++i) EXPECT_EQ(number(16 + 8 * i, 8), longs[i]) << i;
  EXPECT_EQ(number(8, 4), 1u);
  EXPECT_EQ(number(12, 4), 2u);
  EXPECT_EQ(number(80, 4), 0x33221100u);
  EXPECT_EQ(bytes.substr(128, 8), std::string("\x01\0\x02\x01\x2B\x01\0\0", 8));
  EXPECT_EQ(number(136, 8), 0u);
  EXPECT_EQ(number(144, 8), 3u);
  EXPECT_EQ(number(152, 8), 2u);
  EXPECT_EQ(number(160, 8), content_hash("ab"));
}

TEST(TokenFile, EveryTruncationIsFound) {
  const TempFolder folder;
  const std::string whole = read_file(write_tokens(folder / "a.tok", 300));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string path = folder.write("cut.tok", whole.substr(0, size));
    const std::string message = message_of<Error>([&] { TokenFile file(path); });
    ASSERT_THAT(message, HasSubstr(path)) << size;
    if (size >= 128) {
      ASSERT_THAT(message, HasSubstr("byte " + std::to_string(size))) << size;
    }
  }
  const std::string longer = folder.write("cut.tok", whole + "x");
  EXPECT_THAT(complaint(longer), HasSubstr("its header says " + std::to_string(whole.size())));
}

TEST(TokenFile, EveryFlippedByteIsFound) {
  const TempFolder folder;
  std::mt19937_64 random(4);
  for (const std::int32_t vocab : {300, 65536, 70000}) {
    const std::string whole = read_file(write_tokens(folder / "a.tok", vocab, 9));
    EXPECT_EQ(complaint((folder / "a.tok").string()), "");
    for (std::size_t at = 0; at < whole.size(); ++at) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ static_cast<char>(1 + random() % 255));
      ASSERT_THAT(complaint(folder.write("flip.tok", bytes)), HasSubstr("byte ")) << at;
    }
  }
}

TEST(TokenFile, OpeningFindsDamageInHeaderAndTable) {
  const TempFolder folder;
  std::string bytes = read_file(write_tokens(folder / "a.tok", 300));
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);
  const std::string path = folder.write("b.tok", bytes);
  EXPECT_THAT(message_of<Error>([&] { TokenFile file(path); }),
              HasSubstr("byte 112: the checksum of header and document table does not match"));
}

TEST(TokenFile, ForeignFilesAreUsageErrors) {
  const TempFolder folder;
  const auto usage = [&](const std::string& path) {
    return message_of<UsageError>([&] { TokenFile file(path); });
  };
  EXPECT_THAT(usage((folder / "none.tok").string()), HasSubstr("no such token file"));
  EXPECT_THAT(usage(folder.path().string()), HasSubstr("no such token file"));
  EXPECT_THAT(usage(folder.write("e.tok", "")), HasSubstr("empty"));
  EXPECT_THAT(usage(folder.write("t.tok", "plain text")), HasSubstr("byte 0: no token file"));
  std::string bytes = read_file(write_tokens(folder / "a.tok", 300));
  bytes[8] = 2;
  EXPECT_THAT(usage(folder.write("v.tok", bytes)),
              HasSubstr("byte 8: version 2; this program reads version 1"));
}

TEST(TokenFile, AnIdOutsideTheVocabularyNamesItsByte) {
  const TempFolder folder;
  const std::string path = write_tokens(folder / "a.tok", 300);
  const TokenFile file(path);
  const UniqueFd fd = open_file(path, O_WRONLY);
  const std::uint16_t id = 300;
  ASSERT_EQ(::pwrite(fd.get(), &id, sizeof id, 128 + 2 * 33), 2);
  std::vector<std::int32_t> ids(40);
  EXPECT_THAT(message_of<Error>([&] { file.read(10, ids); }),
              HasSubstr(path + ": byte 194: id 300 is outside the vocabulary of 300"));
  EXPECT_EQ(message_of<Error>([&] { file.read(34, ids); }), "");
}

TEST(TokenFile, ChangesSinceOpeningAreSeen) {
  const TempFolder folder;
  const std::string path = write_tokens(folder / "a.tok", 300);
  const TokenFile file(path);
  file.check_unchanged();
  write_tokens(path, 300);  // the same bytes under a new inode
  EXPECT_THAT(message_of<Error>([&] { file.check_unchanged(); }),
              HasSubstr(path + ": the file changed since it was opened: another file"));
  const TokenFile again(path);
  std::filesystem::resize_file(path, 100);
  EXPECT_THAT(message_of<Error>([&] { again.check_unchanged(); }), HasSubstr("byte 100: "));
  std::filesystem::remove(path);
  EXPECT_THAT(message_of<Error>([&] { again.check_unchanged(); }), HasSubstr("was removed"));
}

TEST(TokenFileWriter, LeavesNothingUnderTheNameBeforeCommit) {
  const TempFolder folder;
  const std::string path = write_tokens(folder / "a.tok", 300);
  const std::string before = read_file(path);
  {
    TokenFileWriter writer(path, 300, 299, kFingerprint);
    writer.add("text", std::vector<std::int32_t>{1, 2, 3});
    EXPECT_EQ(read_file(path), before);
  }
  EXPECT_EQ(read_file(path), before);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

}  // namespace
}  // namespace talaria::storage
