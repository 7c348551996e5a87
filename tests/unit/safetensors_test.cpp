// SPDX-License-Identifier: Apache-2.0
// Safetensors of strangers: each way to lie in a header is refused in one line, and no change of
// bytes makes the reader look outside of the file.
#include "storage/exchange/safetensors.h"

#include <algorithm>
#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/text_fixtures.h"
#include "tests/unit/exchange_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using talaria::test::TempFolder;
using test::refusal;
using test::safetensors;
using testing::HasSubstr;

std::string parsed(const std::string& bytes) {
  return refusal([&] { parse_safetensors(bytes, "m"); });
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                std::size_t data = 4) {
  return safetensors(R"({"x":)" + entry(dtype, shape, offsets) + "}", std::string(data, 'd'));
}

TEST(Safetensors, ReadsWhatIsRight) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":)" + entry("F16", "[2,1]", "[4,8]") + R"(,"a":)" +
      entry("F32", "[]", "[0,4]") + R"(,"none":)" + entry("I64", "[0,5]", "[4,4]") + "}   ";
  const std::string bytes = safetensors(header, "12345678");
  const std::vector<SafeTensor> tensors = parse_safetensors(bytes, "m");
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].count, 1);
  EXPECT_EQ(tensors[0].file_begin, bytes.size() - 8);
  EXPECT_EQ(tensors[1].name, "none");
  EXPECT_EQ(tensors[1].count, 0);
  EXPECT_EQ(tensors[2].name, "b");
  EXPECT_EQ(tensors[2].bytes, 4U);
  EXPECT_THAT(tensors[2].shape, testing::ElementsAre(2, 1));
  EXPECT_EQ(parsed(safetensors("{}", "")), "nothing");
}

TEST(Safetensors, RefusesEachHostileFile) {
  const std::string big = "9223372036854775807";
  std::string huge(8, '\xFF');
  std::string above(8, '\0');
  const std::uint64_t length = 100'000'001;
  std::memcpy(above.data(), &length, 8);
  const std::string a = R"({"a":)" + entry("F32", "[1]", "[0,4]");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "m: 0 bytes; a safetensors file has 8 bytes of length, a header and data"},
      {"1234567", "m: 7 bytes; a safetensors file has 8 bytes of length, a header and data"},
      {huge, "m: byte 0: a header of 18446744073709551615 bytes; allowed: at most 100000000"},
      {above, "m: byte 0: a header of 100000001 bytes; allowed: at most 100000000"},
      {safetensors("{}", "").substr(0, 9),
       "m: byte 0: a header of 2 bytes, but the file has only 1 behind its length"},
      {safetensors("", ""), "m: byte 8: expected the header's opening brace"},
      {safetensors(" {}", ""), "m: byte 8: expected the header's opening brace"},
      {safetensors("[]", ""), "m: byte 8: expected the header's opening brace"},
      {safetensors("{}x", ""), "m: byte 10: more text after the value"},
      {safetensors(R"({"a":1})", ""), "m: byte 13: expected an object"},
      {safetensors(R"({"__metadata__":{"a":1}})", ""), "m: byte 29: metadata that is no string"},
      {safetensors(R"({"__metadata__":{"a":"","a":""}})", ""),
       "m: byte 32: the name \"a\" is there already"},
      {safetensors(a + R"(,"a":)" + entry("F32", "[1]", "[4,8]") + "}", "12345678"),
       "m: byte 62: the name \"a\" is there already"},
      {safetensors(R"({"a":{"dtype":"F32","dtype":"F32"}})", ""),
       "m: byte 28: the name \"dtype\" is there already"},
      {safetensors(R"({"a":{"strides":[1]}})", ""),
       "m: byte 14: tensor \"a\": unknown key \"strides\"; allowed: dtype, shape and data_offsets"},
      {safetensors(R"({"":)" + entry("F32", "[1]", "[0,4]") + "}", "1234"),
       "m: byte 9: a name of 0 bytes; allowed: 1 to 256"},
      {safetensors("{\"" + std::string(257, 'n') + "\":{}}", ""),
       "m: byte 9: a name of 257 bytes; allowed: 1 to 256"},
      {safetensors(R"({"x":{"dtype":"F32","shape":[1]}})", ""),
       "m: tensor \"x\": has no data_offsets"},
      {safetensors(R"({"x":{"dtype":"F32","data_offsets":[0,4]}})", ""),
       "m: tensor \"x\": has no shape"},
      {safetensors(R"({"x":{"shape":[1],"data_offsets":[0,4]}})", ""),
       "m: tensor \"x\": has no dtype"},
      {one("F33", "[1]", "[0,4]"),
       "m: tensor \"x\": dtype \"F33\"; allowed: BF16, BOOL, F16, F32, F64, F8_E4M3, F8_E5M2, I16, "
       "I32, I64, I8, U16, U32, U64 or U8"},
      {one("\\u001b[2J", "[1]", "[0,4]"),
       "m: tensor \"x\": dtype \"\\x1b[2J\"; allowed: BF16, BOOL, F16, F32, F64, F8_E4M3, F8_E5M2, "
       "I16, I32, I64, I8, U16, U32, U64 or U8"},
      {one("F32", "[-1]", "[0,4]"), "m: tensor \"x\": shape has -1; allowed: 0 or more"},
      {one("F32", "[1.0]", "[0,4]"), "m: byte 37: expected a whole number"},
      {one("F32", "[9223372036854775808]", "[0,4]"), "m: byte 37: a number beyond 64 bits"},
      {one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"),
       "m: tensor \"x\": more than 16 dims"},
      {one("F32", "[" + big + ",2]", "[0,4]"), "m: tensor \"x\": its shape overflows 64 bits"},
      // 2^32 x 2^32 wraps to 0 in 64 bits, (2^62 + 1) x 4 to 4; a 0 elsewhere hides nothing.
      {one("F32", "[4294967296,4294967296]", "[0,0]", 0),
       "m: tensor \"x\": its shape overflows 64 bits"},
      {one("F32", "[0," + big + ",3]", "[0,0]", 0), "m: tensor \"x\": its shape overflows 64 bits"},
      {one("F32", "[4611686018427387905]", "[0,4]"),
       "m: tensor \"x\": its size in bytes overflows 64 bits"},
      {one("F32", "[1]", "[0]"), "m: tensor \"x\": data_offsets has 1 numbers, not two"},
      {one("F32", "[1]", "[]"), "m: tensor \"x\": data_offsets has 0 numbers, not two"},
      {one("F32", "[1]", "[0,4,8]"), "m: tensor \"x\": data_offsets has more than two numbers"},
      {one("F32", "[1]", "[-4,0]"), "m: tensor \"x\": data_offsets has -4; allowed: 0 or more"},
      {one("F32", "[1]", "[4,0]"),
       "m: tensor \"x\": data_offsets 4 to 0, but its shape has 4 bytes"},
      {one("F32", "[2]", "[0,4]"),
       "m: tensor \"x\": data_offsets 0 to 4, but its shape has 8 bytes"},
      {one("F16", "[1]", "[0,4]"),
       "m: tensor \"x\": data_offsets 0 to 4, but its shape has 2 bytes"},
      {one("F32", "[1]", "[4,8]", 8),
       "m: tensor \"x\": begins at 4 of the data, where 0 is expected: there is a hole before it"},
      {safetensors(a + R"(,"b":)" + entry("F32", "[1]", "[2,6]") + "}", "123456"),
       "m: tensor \"b\": begins at 2 of the data, where 4 is expected: it overlaps the one before"},
      {safetensors(a + R"(,"b":)" + entry("F32", "[1]", "[0,4]") + "}", "1234"),
       "m: tensor \"b\": begins at 0 of the data, where 4 is expected: it overlaps the one before"},
      {one("F32", "[2]", "[0,8]", 7),
       "m: tensor \"x\": ends at 8 of the data, of which the file has 7 bytes"},
      {one("F32", "[1]", "[0,4]", 5), "m: byte 66: 1 bytes that belong to no tensor"},
      {one("U8", "[2305843009213693952]", "[0,2305843009213693952]"),
       "m: tensor \"x\": ends at 2305843009213693952 of the data, of which the file has 4 bytes"}};
  for (const auto& [bytes, message] : cases) EXPECT_EQ(parsed(bytes), message);
}

TEST(Safetensors, MutationsAreReadOrRefused) {
  const std::string good = safetensors(test::gpt2_model());
  const std::string small =
      safetensors(R"({"__metadata__":{"format":"pt"},"b":)" + entry("F16", "[2,1]", "[4,8]") +
                      R"(,"a":)" + entry("F32", "[1]", "[0,4]") + "}",
                  "12345678");
  std::mt19937_64 random(7);
  int accepted = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string bytes = round % 8 == 0 ? good : small;
    const std::size_t within = round % 8 == 0 ? 600 : bytes.size();
    for (std::size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % std::min(within, bytes.size());
      switch (random() % 5) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
          break;
        case 2:
          bytes[at] = "0123456789{}[],:\""[random() % 17];
          break;
        case 3:
          bytes.insert(at, 1, "0123456789"[random() % 10]);
          break;
        default:
          bytes.resize(bytes.size() - random() % 5);
      }
    }
    const std::string message = refusal([&] {
      std::size_t next = 0;
      for (const SafeTensor& tensor : parse_safetensors(bytes, "m")) {
        ASSERT_LE(tensor.file_begin, bytes.size());
        ASSERT_LE(tensor.bytes, bytes.size() - tensor.file_begin);
        if (next != 0) {
          ASSERT_EQ(tensor.file_begin, next);
        }
        next = tensor.file_begin + tensor.bytes;
      }
    });
    accepted += message == "nothing" ? 1 : 0;
  }
  EXPECT_GT(accepted, 300) << "a mutation of data or of a name leaves a file right";
  EXPECT_LT(accepted, 29000);
}

TEST(Safetensors, OtherTypesAreNotRead) {
  const TempFolder scratch;
  test::write(scratch.path() / "m", one("BOOL", "[4]", "[0,4]"));
  const SafetensorsFile file(scratch.path() / "m");
  EXPECT_THAT(refusal([&] { file.element_type(file.tensors()[0]); }),
              HasSubstr("/m: tensor \"x\": dtype BOOL; allowed: F32, F16 or BF16"));
}

class Shards : public testing::Test {
 protected:
  Shards() {
    put("one.safetensors", {{"a", {"F32", {1}, "1234"}}, {"b", {"F32", {1}, "5678"}}});
    put("two.safetensors", {{"c", {"F32", {1}, "9abc"}}});
  }
  void put(const std::string& name, const test::FileTensors& tensors) const {
    test::write(folder() / name, safetensors(tensors));
  }
  void index(const std::string& text) const {
    test::write(folder() / "model.safetensors.index.json", text);
  }
  // The message, without the folder's name.
  std::string opened() const {
    std::string message = refusal([&] { TensorFolder{folder()}; });
    const std::string name = folder().string();
    for (std::size_t at; (at = message.find(name)) != std::string::npos;) {
      message.replace(at, name.size(), "DIR");
    }
    return message;
  }
  const fs::path& folder() const { return scratch_.path(); }

  const std::string right_ = R"({"metadata":{"total_size":12},"weight_map":{"a":"one.safetensors",)"
                             R"("b":"one.safetensors","c":"two.safetensors"}})";

 private:
  TempFolder scratch_;
};

TEST_F(Shards, AreOneFolder) {
  index(right_);
  const TensorFolder tensors(folder());
  ASSERT_EQ(tensors.tensors().size(), 3U);
  const TensorFolder::Entry& c = tensors.tensors().at("c");
  EXPECT_EQ(std::memcmp(c.file->bytes_of(*c.tensor).data(), "9abc", 4), 0);
}

TEST_F(Shards, TheIndexMustAgree) {
  const std::string at = "DIR/model.safetensors.index.json: ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{}", at + "no weight_map, which tells the file of each tensor"},
      {R"({"weight_map":{}})", at + "no weight_map, which tells the file of each tensor"},
      {R"({"weight_map":{"a":1}})", at + "byte 19: expected a string"},
      {R"({"weight_map":{"a":"one.safetensors","a":"one.safetensors"}})",
       at + "byte 37: the name \"a\" is there already"},
      {R"({"weight_map":{"a":"../one.safetensors"}})",
       at + "the file name \"../one.safetensors\"; allowed: a plain name of a file in DIR"},
      {R"({"weight_map":{"a":"/etc/passwd"}})",
       at + "the file name \"/etc/passwd\"; allowed: a plain name of a file in DIR"},
      {R"({"weight_map":{"a":".."}})",
       at + "the file name \"..\"; allowed: a plain name of a file in DIR"},
      {R"({"weight_map":{"a":""}})",
       at + "the file name \"\"; allowed: a plain name of a file in DIR"},
      {R"({"weight_map":{"a":"one.safetensors\u0000x"}})",
       at + "the file name \"one.safetensors\\x00x\"; allowed: a plain name of a file in DIR"},
      {R"({"weight_map":{"a":"three.safetensors"}})",
       "DIR/three.safetensors: no such file, but model.safetensors.index.json names it"},
      {R"({"weight_map":{"a":"one.safetensors"}})",
       at + "tensor \"b\" is in one.safetensors, but not in the index"},
      {R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"}})",
       at + "tensor \"b\" is in one.safetensors, but the index says \"two.safetensors\""},
      {R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","d":"one.safetensors"}})",
       at + "tensor \"d\" is not in one.safetensors, where the index says it is"}};
  for (const auto& [text, message] : cases) {
    index(text);
    EXPECT_EQ(opened(), message);
  }
}

TEST_F(Shards, ATensorIsInOneShardOnly) {
  put("two.safetensors", {{"c", {"F32", {1}, "9abc"}}, {"a", {"F32", {1}, "1234"}}});
  index(right_);
  EXPECT_EQ(opened(),
            "DIR/model.safetensors.index.json: tensor \"a\" is in two.safetensors, but the index "
            "says \"one.safetensors\"");
}

TEST_F(Shards, LinksStayInside) {
  index(right_);
  fs::rename(folder() / "two.safetensors", folder() / "real");
  fs::create_symlink("real", folder() / "two.safetensors");
  EXPECT_EQ(opened(), "nothing");
  const TempFolder other;
  fs::rename(folder() / "real", other.path() / "real");
  fs::remove(folder() / "two.safetensors");
  fs::create_symlink(other.path() / "real", folder() / "two.safetensors");
  EXPECT_EQ(
      opened(),
      "DIR/two.safetensors: a link that leads out of its folder; copy the model with `cp -rL` "
      "first");
  fs::remove(other.path() / "real");
  EXPECT_THAT(opened(), HasSubstr("DIR/two.safetensors: a link that leads out"));
}

TEST_F(Shards, OneWayToKeepWeights) {
  EXPECT_EQ(opened(),
            "DIR: has neither model.safetensors nor model.safetensors.index.json; name the folder "
            "of a model of Hugging Face");
  test::write(folder() / "pytorch_model.bin", "x");
  EXPECT_THAT(opened(), HasSubstr("DIR: has pytorch_model.bin, which runs code when it is read"));
  index(right_);
  put("model.safetensors", {});
  EXPECT_THAT(opened(), HasSubstr("DIR: has both model.safetensors and model.safetensors.index"));
  fs::remove(folder() / "model.safetensors.index.json");
  fs::remove(folder() / "model.safetensors");
  fs::create_directory(folder() / "model.safetensors");
  EXPECT_EQ(opened(), "DIR/model.safetensors: not a regular file");
}

}  // namespace
}  // namespace talaria::storage
