// SPDX-License-Identifier: Apache-2.0
// The command line: what goes to stdout and stderr, and the exit codes.
#include "storage/text/data_command.h"

#include <iostream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "storage/text/inspect.h"
#include "storage/text/tokenizer.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::TempFolder;
using testing::HasSubstr;
using testing::StartsWith;

struct Answer {
  int code;
  std::string out;
  std::string err;
};

class DataCommand : public testing::Test {
 protected:
  void SetUp() override {
    text_ = folder_.write("prose.txt", test::random_prose(1, 40000));
    out_ = (folder_ / "out").string();
  }
  // Runs the command in a child, its three streams being files.
  Answer run(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), "talaria-worker data");
    const std::string in = folder_.write("stdin", input);
    const std::string out = folder_.write("stdout", "");
    const std::string err = folder_.write("stderr", "");
    const pid_t child = ::fork();
    check_sys(child, "fork", "data_command");
    if (child == 0) {
      ::dup2(open_file(in, O_RDONLY).get(), STDIN_FILENO);
      ::dup2(open_file(out, O_WRONLY).get(), STDOUT_FILENO);
      ::dup2(open_file(err, O_WRONLY).get(), STDERR_FILENO);
      std::vector<char*> argv;
      argv.reserve(words.size());
      for (std::string& word : words) argv.push_back(word.data());
      const int code = data_command(static_cast<int>(argv.size()), argv.data());
      std::fflush(nullptr);
      std::cout.flush();
      ::_exit(code);
    }
    int status = 0;
    check_sys(::waitpid(child, &status, 0), "waitpid", "data_command");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
  }
  Answer prepare_small() { return run({"prepare", "--out", out_, "--vocab", "300", text_}); }

  TempFolder folder_;
  std::string text_;
  std::string out_;
};

TEST_F(DataCommand, PrepareSaysWhatItMadeAndThatItReused) {
  const Answer first = prepare_small();
  EXPECT_EQ(first.code, 0);
  EXPECT_THAT(first.out, HasSubstr("tokenizer " + out_ + "/tokenizer: 300 ids\n"));
  EXPECT_THAT(first.out, HasSubstr(out_ + "/prose.tok: "));
  EXPECT_THAT(first.err, HasSubstr("encoding: 40.0 kB in "));
  const Answer second = prepare_small();
  EXPECT_EQ(second.code, 0);
  EXPECT_THAT(second.out, StartsWith(out_ + ": the same text and options were prepared before"));
  const Answer json = run({"prepare", "--json", "--out", out_, "--vocab", "300", text_});
  const boost::json::value record = boost::json::parse(json.out);
  EXPECT_TRUE(record.at("reused").as_bool());
  EXPECT_EQ(record.at("sources").at(0).at("text_bytes").as_int64(),
            inspect_token_file(out_ + "/prose.tok", true, "").text_bytes);
}

TEST_F(DataCommand, EncodeAndDecodeAreInverse) {
  ASSERT_EQ(prepare_small().code, 0);
  const std::string tokenizer = out_ + "/tokenizer";
  std::mt19937_64 random(3);
  const std::string bytes = test::random_bytes(random, 3000);
  const Answer ids = run({"encode", tokenizer}, bytes);
  EXPECT_EQ(ids.code, 0);
  EXPECT_EQ(ids.err, "");
  const Answer back = run({"decode", tokenizer}, ids.out);
  EXPECT_EQ(back.code, 0);
  EXPECT_EQ(back.out, bytes);
  EXPECT_EQ(run({"encode", tokenizer}, "").out, "\n");
}

TEST_F(DataCommand, DecodeRefusesWhatIsNoId) {
  ASSERT_EQ(prepare_small().code, 0);
  const std::string tokenizer = out_ + "/tokenizer";
  EXPECT_EQ(run({"decode", tokenizer}, "1 2 300").err,
            "id 300 at position 2 is outside the vocabulary of 300 tokens\n");
  const Answer answer = run({"decode", tokenizer}, "1 2x");
  EXPECT_EQ(answer.code, 2);
  EXPECT_EQ(
      answer.err,
      "standard input: byte 2: \"2x\" is no token id; give whole numbers with blanks between\n");
  EXPECT_EQ(run({"decode", tokenizer}, "99999999999").code, 2);
}

TEST_F(DataCommand, InspectShowsAndVerifies) {
  ASSERT_EQ(prepare_small().code, 0);
  const std::string file = out_ + "/prose.tok";
  const Answer text = run({"inspect", file, "--verify", "--tokenizer", out_ + "/tokenizer"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("verified, every byte"));
  EXPECT_THAT(text.out, HasSubstr("bytes a token"));
  EXPECT_THAT(text.out, HasSubstr("begins with\n" + read_file(text_).substr(0, 60)));
  const Answer json = run({"inspect", file, "--json"});
  EXPECT_EQ(boost::json::parse(json.out).at("vocab").as_int64(), 300);
  std::string bytes = read_file(file);
  bytes[200] = static_cast<char>(bytes[200] ^ 1);
  folder_.write("out/prose.tok", bytes);
  EXPECT_EQ(run({"inspect", file}).code, 0);
  const Answer damaged = run({"inspect", file, "--verify"});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_THAT(damaged.err, StartsWith(file + ": byte 128: the checksum of the ids"));
}

TEST_F(DataCommand, InspectRefusesAForeignTokenizer) {
  ASSERT_EQ(prepare_small().code, 0);
  const std::string other = (folder_ / "other").string();
  ASSERT_EQ(run({"prepare", "--out", other, "--vocab", "301", text_}).code, 0);
  const Answer answer = run({"inspect", out_ + "/prose.tok", "--tokenizer", other + "/tokenizer"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("was made with"));
}

TEST_F(DataCommand, ChatCountsAndShows) {
  ASSERT_EQ(prepare_small().code, 0);
  const std::string file =
      folder_.write("chat.jsonl",
                    "{\"prompt\": \"77+88=\", \"completion\": \"99\\u001b\"}\nbroken\n"
                    "{\"prompt\": \"7+8=\", \"completion\": \"9\"}\n");
  const std::vector<std::string> command = {
      "chat", file, "--tokenizer", out_ + "/tokenizer", "--template", "plain", "--show", "1"};
  const Answer text = run(command);
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, StartsWith(file + ": conversations in the template plain\nused            2"
                                          "\nbad             1\n"));
  // Bytes by themselves: 6 + 3 + 1 and 4 + 1 + 1 tokens, of which 4 and 2 are trained.
  EXPECT_THAT(text.out, HasSubstr("tokens          16 (6 .. 10 a line)\n"
                                  "trained         6 tokens, 37.5 %\n"));
  EXPECT_THAT(text.out, HasSubstr("--- 1\n77+88=[[99\\x1b<|endoftext|>]]\n"));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("--- 2")));
  EXPECT_THAT(text.err, StartsWith("warning: " + file + ":2: broken JSON"));
  std::vector<std::string> as_json = command;
  as_json.insert(as_json.end(), {"--json", "--as", "prompts"});
  const boost::json::value record = boost::json::parse(run(as_json).out);
  EXPECT_EQ(record.at("kind").as_string(), "prompts");
  EXPECT_EQ(record.at("tokens").as_int64(), 10);
  EXPECT_EQ(record.at("shown").at(0).at(0).at("text").as_string(), "77+88=");
  std::vector<std::string> strict = command;
  strict.insert(strict.end(), {"--max-bad", "0"});
  const Answer refused = run(strict);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr(":2: broken JSON"));
  EXPECT_THAT(refused.err, HasSubstr("no bad lines are allowed (--max-bad)"));
  EXPECT_EQ(run({"chat", file, "--tokenizer", out_ + "/tokenizer", "--template", "xml"}).code, 2);
  EXPECT_EQ(run({"chat", "/none", "--tokenizer", out_ + "/tokenizer", "--template", "hh"}).code, 2);
}

TEST_F(DataCommand, WrongUsageIsExitCodeTwo) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"unknown"}).code, 2);
  EXPECT_EQ(run({"prepare", text_}).code, 2);
  EXPECT_EQ(run({"prepare", "--out", out_, "--vocab", "many", text_}).code, 2);
  EXPECT_EQ(run({"prepare", "--out", out_, "--vocab", "300", "--tokenizer", "x", text_}).code, 2);
  EXPECT_EQ(run({"inspect", "/none.tok"}).code, 2);
  const Answer missing = run({"prepare", "--out", out_, "/none.txt"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(missing.err, "source /none.txt: no such file or folder\n");
  const Answer help = run({"prepare", "--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("--document-bytes"));
  EXPECT_THAT(help.out, HasSubstr("talaria-worker data prepare"));
}

}  // namespace
}  // namespace talaria::storage
