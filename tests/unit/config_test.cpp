// SPDX-License-Identifier: Apache-2.0
// The TOML reader: every complaint is one line that names the place, and what is allowed.
#include "cluster/base/config.h"

#include <bit>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// The message of the UsageError that `body` throws.
std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

// Reads every kind of value from [a] and refuses the rest.
void read_all(const ConfigFile& file) {
  ConfigTable root = file.root();
  if (auto a = root.table("a")) {
    a->integer("count", {1, 8});
    a->integer("any");
    a->integer("least", {0, std::numeric_limits<std::int64_t>::max()});
    a->real("rate", {0.0, 1.0});
    a->real("number");
    a->real("open", {0.0, 1.0, true, true});
    a->real("half", {0.0, 1.0, false, true});
    a->real("above", {.low = 0.0, .open_low = true});
    a->real("below", {.high = 0.0});
    a->boolean("flag");
    a->string("word");
    a->choice("pick", {"red", "blue"}, {"violet"});
    if (auto rows = a->tables("rows")) {
      for (ConfigTable& row : *rows) {
        row.string("path");
        row.finish();
      }
    }
    a->finish();
  }
  root.finish();
}

struct Bad {
  const char* text;
  const char* message;  // the whole line
};
// Letters and digits of what a case is about, and its number: a name that CTest's lists can hold.
template <class Case>
std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name;
  for (const char* c = info.param.text; *c != '\0' && name.size() < 24; ++c) {
    if (std::isalnum(static_cast<unsigned char>(*c)) != 0) name += *c;
  }
  return name + "_" + std::to_string(info.index);
}

class BadConfig : public testing::TestWithParam<Bad> {};

TEST_P(BadConfig, IsRefusedInOneLine) {
  const std::string message =
      complaint([] { read_all(ConfigFile::parse(GetParam().text, "f.toml")); });
  EXPECT_EQ(message, GetParam().message);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfig,
    testing::Values(
        Bad{"[a]\ncount = 0", "f.toml:2: a.count: found 0; allowed: an integer from 1 to 8"},
        Bad{"[a]\n\ncount = 9", "f.toml:3: a.count: found 9; allowed: an integer from 1 to 8"},
        Bad{"[a]\ncount = -3", "f.toml:2: a.count: found -3; allowed: an integer from 1 to 8"},
        Bad{"[a]\ncount = 2.0", "f.toml:2: a.count: found 2.0; allowed: an integer from 1 to 8"},
        Bad{"[a]\ncount = '2'",
            "f.toml:2: a.count: found the string \"2\"; allowed: an integer from 1 to 8"},
        Bad{"[a]\nany = true", "f.toml:2: a.any: found true; allowed: an integer"},
        Bad{"[a]\nany = nan", "f.toml:2: a.any: found nan; allowed: an integer"},
        Bad{"[a]\nleast = -1", "f.toml:2: a.least: found -1; allowed: an integer of 0 or more"},
        Bad{"[a]\nleast = [1]",
            "f.toml:2: a.least: found an array; allowed: an integer of 0 or more"},
        Bad{"[a]\nrate = 1.5", "f.toml:2: a.rate: found 1.5; allowed: a number from 0 to 1"},
        Bad{"[a]\nrate = nan", "f.toml:2: a.rate: found nan; allowed: a number from 0 to 1"},
        Bad{"[a]\nnumber = inf", "f.toml:2: a.number: found inf; allowed: a finite number"},
        Bad{"[a]\nnumber = -inf", "f.toml:2: a.number: found -inf; allowed: a finite number"},
        Bad{"[a]\nnumber = 'x'",
            "f.toml:2: a.number: found the string \"x\"; allowed: a finite number"},
        Bad{"[a]\nopen = 0", "f.toml:2: a.open: found 0; allowed: a number above 0 to below 1"},
        Bad{"[a]\nopen = 1.0", "f.toml:2: a.open: found 1.0; allowed: a number above 0 to below 1"},
        Bad{"[a]\nhalf = 1.0", "f.toml:2: a.half: found 1.0; allowed: a number from 0 to below 1"},
        Bad{"[a]\nabove = 0.0", "f.toml:2: a.above: found 0.0; allowed: a finite number above 0"},
        Bad{"[a]\nbelow = 1", "f.toml:2: a.below: found 1; allowed: a finite number up to 0"},
        Bad{"[a]\nflag = 1", "f.toml:2: a.flag: found 1; allowed: true or false"},
        Bad{"[a]\nword = 7", "f.toml:2: a.word: found 7; allowed: a string, in quotes"},
        Bad{"[a]\nword = 2024-01-02",
            "f.toml:2: a.word: found a date or time; allowed: a string, in quotes"},
        Bad{"[a]\nword = {}", "f.toml:2: a.word: found a table; allowed: a string, in quotes"},
        Bad{"[a]\npick = 'green'",
            "f.toml:2: a.pick: found the string \"green\"; allowed: \"red\" or \"blue\""},
        Bad{"[a]\npick = 'violet'",
            "f.toml:2: a.pick: found the string \"violet\", which is not available in this "
            "version; "
            "allowed: \"red\" or \"blue\""},
        Bad{"[a]\npick = 'a\\n'",
            "f.toml:2: a.pick: found the string \"a\\n\"; allowed: \"red\" or \"blue\""},
        Bad{"[a]\npick = \"a\\n\"",
            "f.toml:2: a.pick: found the string \"a\\n\"; allowed: \"red\" or \"blue\""},
        Bad{"a = 1", "f.toml:1: a: found 1; allowed: a table, [a]"},
        Bad{"[a]\nrows = {}",
            "f.toml:2: a.rows: found a table; allowed: an array of tables, [{ ... }, ...]"},
        Bad{"[a]\nrows = [{path='x'}, 3]",
            "f.toml:2: a.rows: element 1 is 3; allowed: an array of tables, [{ ... }, ...]"},
        Bad{"[a]\nrows = [\n{path='x'},\n{path=3}]",
            "f.toml:4: a.rows[1].path: found 3; allowed: a string, in quotes"},
        Bad{"[a]\n[[a.rows]]\npath='x'\npth='y'",
            "f.toml:4: a.rows[0].pth: unknown key, did you mean path?; allowed: path"},
        Bad{"[a]\nzebra = 1\ncuont = 2",
            "f.toml:2: a.zebra: unknown key; allowed: above, any, below, count, flag, half, least, "
            "number, open, pick, rate, "
            "rows or word"},
        Bad{"[a]\ncuont = 2\nzebra = 1",
            "f.toml:2: a.cuont: unknown key, did you mean count?; allowed: above, any, below, "
            "count, flag, half, least, number, open, pick, rate, rows or word"},
        Bad{"[a]\n[b]", "f.toml:2: b: unknown key, did you mean a?; allowed: a"},
        Bad{"\"x y\" = 1", "f.toml:1: \"x y\": unknown key; allowed: a"},
        Bad{"[a]\nb.c = 1",
            "f.toml:2: a.b: unknown key; allowed: above, any, below, count, flag, half, least, "
            "number, open, pick, rate, "
            "rows or word"}),
    case_name<Bad>);

struct Broken {
  const char* text;
  const char* start;
};
class BrokenToml : public testing::TestWithParam<Broken> {};

TEST_P(BrokenToml, IsRefusedInOneLineWithItsPlace) {
  const std::string message = complaint([] { ConfigFile::parse(GetParam().text, "f.toml"); });
  EXPECT_THAT(message, StartsWith(GetParam().start));
  EXPECT_THAT(message, HasSubstr("allowed: TOML 1.0"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BrokenToml,
    testing::Values(Broken{"[a]\nany = 9223372036854775808", "f.toml:2: a.any: "},
                    Broken{"[a]\nany = -9223372036854775809", "f.toml:2: a.any: "},
                    Broken{"[a]\nany = 99999999999999999999999999", "f.toml:2: a.any: "},
                    Broken{"[a]\nany = 1\nany = 2", "f.toml:3: a.any: "},
                    Broken{"[a]\nany = 1\n[a]\nany = 2", "f.toml:3: a: "},
                    Broken{"[a]\nword = \"open", "f.toml:2: a.word: "},
                    Broken{"[a]\nany = ", "f.toml:2: a.any: "},
                    Broken{"[a]\nany 3", "f.toml:2: a.any: "}, Broken{"[a\n", "f.toml:1: a: "},
                    Broken{"[a]\nrows = [1, 2", "f.toml:2: a.rows: "},
                    Broken{"[a]\nany = 0x", "f.toml:2: a.any: "},
                    Broken{"[a]\nword = \"\x01\"", "f.toml:2: a.word: "},
                    Broken{"[a]\nword = \"\xff\xfe\"", "f.toml:2: a.word: byte 0xff is not UTF-8"},
                    Broken{"[a]\nword = \"x \xc6y\"", "f.toml:2: a.word: byte 0xc6 is not UTF-8"},
                    Broken{"[a]\nn\xc3\xa4me = 1",
                           "f.toml:2: a: the character \"ä\" may stand in "},
                    Broken{"[a]\nword = ä", "f.toml:2: a.word: the character \"ä\" may stand in "},
                    Broken{"[a]\nword = \"x\\ä\"", "f.toml:2: a.word: the character \"ä\""},
                    Broken{"[a]\nword = \"\"\"x\\ \n  ä\"\"\"", "f.toml:3: a: the character \"ä\""},
                    Broken{"[a]\nword = 'x\nä", "f.toml:3: a: the character \"ä\""},
                    Broken{"[a]\nany = 4z\"[jä", "f.toml:2: a.any: the character \"ä\""},
                    Broken{"[a]\nany = 1\xc2\xa0", "f.toml:2: a.any: the character "},
                    Broken{"[a]\n# \xed\xa0\x80", "f.toml:2: a: byte 0xed is not UTF-8"},
                    Broken{"= 3", "f.toml:1: "}, Broken{"<html>", "f.toml:1: "}),
    case_name<Broken>);

TEST(Config, ReadsValuesOfEveryKind) {
  const ConfigFile file = ConfigFile::parse(
      "[a]\ncount = 0x8\nrate = 1\nflag = false\nword = \"é\"\npick = 'blue'\n"
      "rows = [{path = 'p'}, {path = 'q'}]\n",
      "f.toml");
  ConfigTable root = file.root();
  EXPECT_TRUE(root.has("a"));
  EXPECT_FALSE(root.has("b"));
  auto a = root.table("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->integer("count", {1, 8}), 8);
  EXPECT_EQ(a->integer("absent"), std::nullopt);
  EXPECT_EQ(a->real("rate", {0, 1}), 1.0);
  EXPECT_EQ(a->boolean("flag"), false);
  EXPECT_EQ(a->string("word"), "é");
  EXPECT_EQ(a->choice("pick", {"red", "blue"}), 1);
  auto rows = a->tables("rows");
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->at(1).string("path"), "q");
  EXPECT_EQ(rows->at(1).where("path"), "f.toml:7");
  a->finish();
  root.finish();
}

TEST(Config, DeepKeysAndValuesAreRefused) {
  std::string dotted = "a";
  for (int i = 0; i < 100000; ++i) dotted += ".a";
  for (const std::string& text :
       {dotted + " = 1", "[" + dotted + "]", "x = { " + dotted + " = 1 }",
        "x = " + std::string(100000, '['), "x = " + std::string(100000, '{')}) {
    EXPECT_THAT(complaint([&] { ConfigFile::parse(text, "f.toml"); }), HasSubstr("f.toml:1: "));
  }
  EXPECT_THAT(complaint([&] { ConfigFile::parse("", "f.toml", {dotted + "=1"}); }),
              HasSubstr("not an override"));
  EXPECT_EQ(complaint([&] { ConfigFile::parse("", "f.toml", {"a.b=" + std::string(1000, '[')}); }),
            "(nothing was refused)");
  std::string numbers = "x = [1.5";
  for (int i = 0; i < 100; ++i) numbers += ", 1.5";
  EXPECT_NO_THROW(ConfigFile::parse(numbers + "]\na . b.'c.d'.\"e\" = 1.5", "f.toml"));
}

TEST(Config, CharactersBeyondAsciiStandInStringsAndComments) {
  const ConfigFile file = ConfigFile::parse(
      "\xEF\xBB\xBF# é\n'é' = \"é \\\" é\" # \"é\nb = 'é\\' # é\nc = \"\"\"é\"\n\\\\é\\\n "
      "e\"\"\"\"\" # é\n"
      "d = '''é'\n\\\n é'''#é\ne = \"\" # é\n",
      "f.toml");
  ConfigTable root = file.root();
  EXPECT_EQ(root.string("é"), "é \" é");
  EXPECT_EQ(root.string("b"), "é\\");
  EXPECT_EQ(root.string("c"), "é\"\n\\ée\"\"");
  EXPECT_EQ(root.string("e"), "");
  EXPECT_EQ(root.string("d"), "é'\n\\\n é");
}

TEST(Config, AMissingFileIsOneLine) {
  EXPECT_EQ(complaint([] { ConfigFile::load("/no/such.toml"); }),
            "/no/such.toml: open /no/such.toml: No such file or directory (errno 2); allowed: the "
            "path of a readable TOML file");
  EXPECT_EQ(
      complaint([] { ConfigFile::load(std::string(10240, 'x')); }),
      "\"" + std::string(60, 'x') + "...\": 10240 bytes; allowed: a path of at most 4095 bytes");
  EXPECT_THAT(complaint([] { ConfigFile::load("/"); }), HasSubstr("Is a directory"));
}

TEST(Overrides, AreTomlValuesOrElseStrings) {
  const ConfigFile file = ConfigFile::parse(
      "[a]\ncount = 1 # one\nword = 'x'", "f.toml",
      {"a.count=2", "a.word=runs/x y", "a.rate=0.5", "a.flag=true", "new.inner.key=\"q\"",
       "a.rows=[{path='z'}]", "a.empty=", "a.twice=1", "a.twice=2"});
  ConfigTable root = file.root();
  auto a = root.table("a");
  EXPECT_EQ(a->integer("count"), 2);
  EXPECT_EQ(a->string("word"), "runs/x y");
  EXPECT_EQ(a->real("rate"), 0.5);
  EXPECT_EQ(a->boolean("flag"), true);
  EXPECT_EQ(a->tables("rows")->at(0).string("path"), "z");
  EXPECT_EQ(a->string("empty"), "");
  EXPECT_EQ(a->integer("twice"), 2);
  EXPECT_EQ(root.table("new")->table("inner")->string("key"), "q");
}

TEST(Overrides, AreBlamedByName) {
  const auto message = [](const std::string& override) {
    return complaint([&] { read_all(ConfigFile::parse("[a]\nword = 'x'", "f.toml", {override})); });
  };
  EXPECT_EQ(message("a.count=0"),
            "--set a.count: a.count: found 0; allowed: an integer from 1 to 8");
  EXPECT_EQ(message("a.rows=[{path=3}]"),
            "--set a.rows: a.rows[0].path: found 3; allowed: a string, in quotes");
  EXPECT_THAT(message("a.cuont=3"),
              StartsWith("--set a.cuont: a.cuont: unknown key, did you mean"));
  EXPECT_EQ(message("b.x=3"), "f.toml:1: b: unknown key, did you mean a?; allowed: a");
  EXPECT_EQ(message("a.word.x=3"),
            "--set a.word.x: word is the string \"x\"; allowed: a key of a table");
  EXPECT_THAT(message("a.count=99999999999999999999"), HasSubstr("does not fit 64 bits"));
  EXPECT_EQ(message("a.word=x \xc6y"),
            "--set a.word: a byte that is not UTF-8; allowed: text in UTF-8");
  for (const char* text : {"", "=", "a", "a.count", "a..b=1", ".a=1", "a.=1", "a b=1", "a\n=1"}) {
    EXPECT_THAT(message(text), HasSubstr("allowed: table.key=value")) << text;
    EXPECT_EQ(message(text).find('\n'), std::string::npos);
  }
}

TEST(Overrides, TextCannotSmuggleOtherKeys) {
  for (const std::string value :
       {"1\n[a]\nflag = true", "1\nflag = true", "\"x\"\n[b]", "'", "\"", "]", "{", "x # y", "\\",
        "\"\"\"", "'''\n'''\n[c]\nd = 1", "x\"\n[a]\nflag = true\n#"}) {
    const ConfigFile file = ConfigFile::parse("[a]\n", "f.toml", {"a.word=" + value});
    EXPECT_EQ(file.root().table("a")->string("word"), value);
    // And the saved file says the same.
    const ConfigFile again = ConfigFile::parse(file.to_toml(), "g.toml");
    ConfigTable a = *again.root().table("a");
    EXPECT_EQ(a.string("word"), value) << file.to_toml();
    a.finish();
  }
}

TEST(Config, TheEffectiveFileReadsBackTheSame) {
  std::mt19937_64 random(7);
  const std::string_view kinds = "ab\"'\\\n\t\r\x01[]#= .";
  for (int round = 0; round < 2000; ++round) {
    std::string word = "x y";  // no TOML value, so always a string
    for (std::uint64_t i = random() % 12; i > 0; --i) word += kinds[random() % kinds.size()];
    const std::uint64_t bits = random();
    double real = std::bit_cast<double>(bits);
    if (!std::isfinite(real)) real = 0.1;
    const auto integer = static_cast<std::int64_t>(random());
    const ConfigFile file = ConfigFile::parse(
        "", "f",
        {"a.word=" + word, fmt::format("a.real={:.17e}", real), fmt::format("a.any={}", integer)});
    const ConfigFile again = ConfigFile::parse(file.to_toml(), "g");
    ConfigTable a = *again.root().table("a");
    EXPECT_EQ(a.string("word"), word);
    EXPECT_EQ(a.real("real"), real) << file.to_toml();
    EXPECT_EQ(a.integer("any"), integer);
  }
}

TEST(Config, AnEntryIsLaidOverTheTables) {
  const ConfigFile file = ConfigFile::parse(
      "[a]\ncount = 1\nword = 'x'\n[b]\ny = 1\n[[entry]]\n[[entry]]\npick = 'red'\n[entry.a]\n"
      "word = 'z'\n[entry.c]\nw = 2\n[entry.d]\nv = 3\n",
      "f.toml");
  ConfigTable root = file.overlaid({.array = "entry",
                                    .index = 1,
                                    .tables = {"a", "b", "c"},
                                    .keys = {{"pick", "a.pick"}, {"none", "a.none"}}})
                         .root();
  EXPECT_FALSE(root.has("entry"));
  EXPECT_FALSE(root.has("d"));
  ConfigTable a = *root.table("a");
  EXPECT_EQ(a.integer("count"), 1);
  EXPECT_EQ(a.string("word"), "z");
  EXPECT_EQ(a.string("pick"), "red");
  EXPECT_FALSE(a.has("none"));
  EXPECT_EQ(a.where("count"), "f.toml:2");
  EXPECT_EQ(a.where("word"), "f.toml:10");
  EXPECT_EQ(a.where("pick"), "f.toml:8");
  EXPECT_EQ(root.table("b")->where("y"), "f.toml:5");
  EXPECT_EQ(root.table("c")->where("w"), "f.toml:12");
  // And the file itself is as it was.
  EXPECT_EQ(file.root().table("a")->string("word"), "x");
}

TEST(Config, ArraysOfStrings) {
  const ConfigFile file = ConfigFile::parse("all = ['x', \"y\"]\nnone = []\none = 'x'", "f.toml");
  ConfigTable root = file.root();
  EXPECT_EQ(root.strings("all"), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(root.strings("none"), std::vector<std::string>());
  EXPECT_EQ(root.strings("absent"), std::nullopt);
  EXPECT_EQ(root.strings("one", true), std::vector<std::string>{"x"});
  EXPECT_THROW(root.strings("one"), UsageError);
}

TEST(Text, QuotedWordsReachACommandAsTheyAre) {
  std::string every;  // byte but NUL, which no argument can hold
  for (int byte = 1; byte < 256; ++byte) every += static_cast<char>(byte);
  const std::vector<std::string> words = {"",
                                          "a",
                                          every,
                                          "'",
                                          "a'b''c",
                                          "$(id)`id`$HOME",
                                          "-x",
                                          "a b",
                                          "\n#SBATCH -x\n",
                                          "~",
                                          "*",
                                          "#",
                                          "!",
                                          "a=b",
                                          "{a,b}",
                                          "\\",
                                          std::string(10240, '\'')};
  std::string script = "printf '%s\\0'";
  std::string expected;
  for (const std::string& word : words) {
    script.append(1, ' ').append(shell_quote(word));
    expected.append(word).append(1, '\0');
  }
  EXPECT_EQ(shell_quote("/x/y-1.0,z:%j"), "/x/y-1.0,z:%j");
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("talaria_quote_{}.sh", ::getpid());
  write_file_atomic(path, script);
  const auto out = path.string() + ".out";
  for (const char* shell : {"sh", "bash"}) {
    ASSERT_EQ(std::system((std::string(shell) + " " + path.string() + " >" + out).c_str()), 0);
    EXPECT_EQ(read_file(out), expected) << shell;
  }
  std::filesystem::remove(path);
  std::filesystem::remove(out);
}

TEST(Text, NearestWordIsNearOrNone) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(nearest_word("lerning_rate", {"decay", "learning_rate"}), "learning_rate");
  EXPECT_EQ(nearest_word("xyzzy", {"decay", "learning_rate"}), "");
}

TEST(Text, MessagesStayOnOneLine) {
  EXPECT_EQ(one_line("a\nb\tc\x01\x7f é"), "a\\nb\\tc\\x01\\x7f é");
  EXPECT_EQ(one_line("\xc2\x9b"
                     "31m \xe2\x80\xae \xf0\x9f\x98\x80"),
            "\\u009b31m \\u202e \xf0\x9f\x98\x80");
  EXPECT_EQ(one_line("\xff\xc0\x80\xed\xa0\x80\xe2\x82"),
            "\\xff\\xc0\\x80\\xed\\xa0\\x80\\xe2\\x82");
  EXPECT_EQ(in_quotes(std::string(59, 'x') + "é é"), "\"" + std::string(59, 'x') + "...\"");
  EXPECT_EQ(join_or({"a", "b", "c"}), "a, b or c");
}

}  // namespace
}  // namespace talaria
