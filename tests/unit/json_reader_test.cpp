// SPDX-License-Identifier: Apache-2.0
// The strict reader of strangers' JSON: what RFC 8259 has, and what it has not.
#include "storage/exchange/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/exchange_support.h"

namespace talaria::storage {
namespace {

using test::refusal;
using testing::ElementsAre;

std::string skipped(const std::string& text) {
  return refusal([&] { read_json(text, "f", 0, [](JsonReader& json) { json.skip(); }); });
}

TEST(JsonReader, TakesWhatRfc8259Has) {
  for (const char* text :
       {"{}", "[]", " [ ] ", "\t{\"a\" : [1, -0, 2.5e-3, 1E+9, 0.0], \"b\":null}\r\n", "\"\"",
        "true", "false", "null", "-1", "{\"\":{\"\":{}}}", R"("\"\\\/\b\f\n\r\té😀")",
        "\"\xF0\x9F\x98\x80\""}) {
    EXPECT_EQ(skipped(text), "nothing") << text;
  }
}

TEST(JsonReader, RefusesTheRestAtItsByte) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "f: byte 0: the text ends where a value should be"},
      {"{", "f: byte 1: expected a name in quotes"},
      {"{\"a\"}", "f: byte 4: expected a colon"},
      {"{\"a\":1,}", "f: byte 7: expected a name in quotes"},
      {"{\"a\":1 \"b\":2}", "f: byte 7: expected a comma or the closing brace"},
      {"[1,]", "f: byte 3: expected a value of JSON"},
      {"[1", "f: byte 2: the text ends where a comma or the closing bracket should be"},
      {"[1]]", "f: byte 3: more text after the value"},
      {"{a:1}", "f: byte 1: expected a name in quotes"},
      {"'a'", "f: byte 0: expected a value of JSON"},
      {"01", "f: byte 0: a number with a leading zero"},
      {"-", "f: byte 0: not a number of JSON"},
      {"1.", "f: byte 0: not a number of JSON"},
      {".5", "f: byte 0: expected a value of JSON"},
      {"1e", "f: byte 0: not a number of JSON"},
      {"+1", "f: byte 0: expected a value of JSON"},
      {"NaN", "f: byte 0: expected a value of JSON"},
      {"nul", "f: byte 0: expected null"},
      {"tru", "f: byte 0: expected true or false"},
      {"\"a", "f: byte 0: a string without an end"},
      {"\"\n\"", "f: byte 1: a control character in a string"},
      {"\"\\x\"", "f: byte 1: not an escape of JSON"},
      {"\"\\u12\"", "f: byte 3: expected four hex digits"},
      {"\"\\ud800\"", "f: byte 1: half of a surrogate pair"},
      {"\"\\udc00\"", "f: byte 1: half of a surrogate pair"},
      {"\"\\ud800\\u0041\"", "f: byte 1: half of a surrogate pair"},
      {"\"\xC0\xAF\"", "f: byte 1: not UTF-8"},
      {"\xEF\xBB\xBF{}", "f: byte 0: expected a value of JSON"},
      {"{\"a\":1,\"a\":1}", "f: byte 7: the name \"a\" is there already"},
      {"{\"a\":1,\"\\u0061\":1}", "f: byte 7: the name \"a\" is there already"},
      {"[[{\"b\":[{\"x\":1,\"y\":2,\"x\":3}]}]]", "f: byte 21: the name \"x\" is there already"},
      {"{\"\\u001b[2J\":1,\"\\u001b[2J\":1}", "f: byte 15: the name \"\\x1b[2J\" is there already"},
      {std::string(65, '['), "f: byte 64: nested more than 64 deep"},
      {std::string(1000000, '['), "f: byte 64: nested more than 64 deep"}};
  for (const auto& [text, message] : cases) EXPECT_EQ(skipped(text), message) << text.substr(0, 99);
  EXPECT_EQ(skipped(std::string(64, '[') + std::string(64, ']')), "nothing");
}

TEST(JsonReader, GivesValues) {
  std::vector<std::string> names;
  std::vector<std::int64_t> numbers;
  read_json(
      R"({"a":[-9223372036854775808,9223372036854775807],"b":"\ud83d\ude00é","c":1e2,"d":false,"e":null})",
      "f", 0, [&](JsonReader& json) {
        json.object([&](const std::string& name, std::size_t) {
          names.push_back(name);
          if (name == "a") json.array([&](std::size_t) { numbers.push_back(json.integer()); });
          if (name == "b") {
            EXPECT_EQ(json.string(), "\xF0\x9F\x98\x80\xC3\xA9");
          }
          if (name == "c") {
            EXPECT_EQ(json.real(), 100.0);
          }
          if (name == "d") {
            EXPECT_FALSE(json.boolean());
          }
          if (name == "e") {
            EXPECT_TRUE(json.take_null());
          }
        });
      });
  EXPECT_THAT(names, ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(numbers, ElementsAre(INT64_MIN, INT64_MAX));
}

TEST(JsonReader, IntegersAreWholeAndFit) {
  const auto integer = [](const std::string& text) {
    return refusal([&] { read_json(text, "f", 8, [](JsonReader& json) { json.integer(); }); });
  };
  EXPECT_EQ(integer("9223372036854775808"), "f: byte 8: a number beyond 64 bits");
  EXPECT_EQ(integer("1.0"), "f: byte 8: expected a whole number");
  EXPECT_EQ(integer(" 1e3"), "f: byte 9: expected a whole number");
  EXPECT_EQ(integer("\"1\""), "f: byte 8: expected a whole number");
  EXPECT_EQ(refusal([] { read_json("1e999", "f", 0, [](JsonReader& json) { json.real(); }); }),
            "f: byte 0: a number beyond what a double holds");
}

}  // namespace
}  // namespace talaria::storage
