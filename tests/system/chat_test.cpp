// SPDX-License-Identifier: Apache-2.0
// `talaria-worker chat` on tiny models: lines through a pipe, and a person at a terminal with
// Ctrl-C and Ctrl-D.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <span>
#include <sstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/subprocess.h"
#include "cluster/base/text.h"
#include "tests/system/use_models.h"

namespace talaria::worker {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kWorker = std::string(TALARIA_BIN_DIR) + "/talaria-worker";

// A program on a terminal of its own.
class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& argv) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = 200;
    int fd = -1;
    child_ = check_sys(::forkpty(&fd, nullptr, nullptr, &size), "forkpty", "");
    if (child_ == 0) {
      ::alarm(60);
      std::vector<char*> words;
      words.reserve(argv.size() + 1);
      for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
      words.push_back(nullptr);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    fd_ = UniqueFd(fd);
  }
  ~Terminal() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) {
    write_all(fd_.get(), std::as_bytes(std::span(keys)), "terminal");
  }

  // What came since the last call up to and including `text`; all there was where it did not come.
  std::string until(const std::string& text, double seconds = 30) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (seen_.find(text) == std::string::npos && std::chrono::steady_clock::now() < end) {
      if (!read_some()) break;
    }
    const std::size_t at = seen_.find(text);
    EXPECT_NE(at, std::string::npos) << text << " did not come, but\n" << seen_;
    std::string came = seen_.substr(0, at == std::string::npos ? at : at + text.size());
    seen_.erase(0, came.size());
    return came;
  }

  // The exit code, or 128 + signal.
  int exit_code() {
    while (read_some()) {
    }
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  bool read_some() {
    pollfd waiting = {fd_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 100) == 0) return true;
    char buffer[4096];
    const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
    if (got <= 0) return false;  // EIO: the other side is gone
    seen_.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  pid_t child_ = -1;
  UniqueFd fd_;
  std::string seen_;
};

class Chat : public testing::Test {
 protected:
  static void SetUpTestSuite() { models_ = new UseModels("chat"); }
  static void TearDownTestSuite() { delete models_; }

  static std::vector<std::string> argv(const std::string& run,
                                       const std::vector<std::string>& more) {
    std::vector<std::string> all = {kWorker,           "chat",          "--run-dir",
                                    models_->run(run), "--temperature", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static Captured pipe(const std::string& lines, const std::vector<std::string>& more = {},
                       const std::string& run = "sft") {
    return run_captured(argv(run, more), 60, lines);
  }
  static UseModels& models() { return *models_; }

 private:
  static inline UseModels* models_ = nullptr;
};

TEST_F(Chat, AnswersLinesOfAPipe) {
  const Captured talk = pipe("What is red?\r\n\n/reset\nWhat is hot?\n/reset\nWhat is yellow?");
  EXPECT_EQ(talk.exit_code, 0) << talk.err;
  EXPECT_EQ(talk.out, "apple\n" + kTalk[2].second + "\na lemon\n");
  EXPECT_EQ(talk.err, "");
  // Bytes are given on as they are where no terminal can be harmed.
  EXPECT_EQ(pipe("What is bad?\n").out, kTalk[3].second + "\n");
}

TEST_F(Chat, SaysItInJson) {
  const Captured talk = pipe("What is yellow?\n/quit\nWhat is red?\n", {"--json"});
  EXPECT_EQ(talk.exit_code, 0) << talk.err;
  EXPECT_EQ(boost::json::parse(talk.out).at("answer").as_string(), "a lemon");
  EXPECT_TRUE(boost::json::parse(talk.out).at("stopped").as_bool());
  const auto cut = boost::json::parse(pipe("What is yellow?\n", {"--json", "--tokens", "1"}).out);
  EXPECT_EQ(cut.at("tokens").to_number<int>(), 1);
  EXPECT_FALSE(cut.at("stopped").as_bool());
}

TEST_F(Chat, RemembersAndSaves) {
  const std::string file = models().path("saved.jsonl");
  const Captured talk = pipe(fmt::format("/save {0}\n", file));
  EXPECT_EQ(talk.exit_code, 2);
  EXPECT_THAT(talk.err, HasSubstr("nothing was answered yet"));
  const Captured saved =
      pipe(fmt::format("/system Be brief.\nWhat is red?\nWhat is yellow?\n/save {0}\n/reset\n"
                       "What is red?\n/save {0}\n",
                       file));
  EXPECT_EQ(saved.exit_code, 0) << saved.err;
  std::istringstream lines(models().read("saved.jsonl"));
  std::vector<boost::json::array> talks;
  for (std::string line; std::getline(lines, line);) {
    talks.push_back(boost::json::parse(line).at("messages").as_array());
  }
  ASSERT_EQ(talks.size(), 2U);
  ASSERT_EQ(talks[0].size(), 5U);
  EXPECT_EQ(talks[0][0].at("role").as_string(), "system");
  EXPECT_EQ(talks[0][3].at("content").as_string(), "What is yellow?");
  EXPECT_EQ(talks[1].size(), 3U) << "the system message outlives /reset";
  // What is saved is chat data.
  const ChildResult data =
      models().jobs().tool({"data", "chat", file, "--tokenizer", models().path("data/tokenizer"),
                            "--template", "chatml"});
  EXPECT_EQ(data.exit_code, 0) << data.output;
}

TEST_F(Chat, ForgetsTheOldestTurnsWhenTheContextIsFull) {
  std::string lines = "/reset\n";
  for (int i = 0; i < 100; ++i) lines += "What is red? What is red? What is red?\n";
  const Captured talk = pipe(lines, {"--tokens", "40"});
  EXPECT_EQ(talk.exit_code, 0) << talk.err;
  const std::string said = "the context of 2048 tokens is full";
  const std::size_t at = talk.err.find(said);
  ASSERT_NE(at, std::string::npos) << talk.err;
  EXPECT_EQ(talk.err.find(said, at + 1), std::string::npos) << "said once";
}

TEST_F(Chat, RefusesWhatItCannotDo) {
  const auto refused = [](const Captured& result, const std::string& part) {
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
  };
  refused(pipe("x\n", {}, "pretrain"), "allowed: chatml, llama3, hh or plain");
  refused(pipe("x\n", {}, "reward"), "a reward model (its head gives a number, no words)");
  refused(pipe("x\n", {"--template", "xml"}), "no such chat template");
  refused(pipe("x\n", {"--template", "hh", "--system", "y"}), "hh has no system message");
  refused(pipe("/sing\n"), "\"/sing\": no such command");
  refused(pipe("a<|im_end|>b\n"), "hold the marker");
  refused(pipe("caf\xE9\n"), "byte 4 of the line is no UTF-8");
  refused(pipe(std::string(6000, '7') + "\n"), "of which the context has room for");
  refused(pipe("/save /nowhere/at/all\nx\n"), "nothing was answered yet");
  refused(run_captured({kWorker, "chat"}, 20), "name a run with --run-dir");
}

TEST_F(Chat, APersonAtATerminal) {
  Terminal terminal(argv("sft", {}));
  terminal.until("/help lists the commands");
  terminal.until("> ");
  terminal.type("What is hot?\n");
  const std::string answer = terminal.until("> ");
  EXPECT_THAT(answer, HasSubstr(kTalk[2].second));
  EXPECT_EQ(utf8_prefix(answer), answer.size());
  terminal.type("/reset\n");
  terminal.until("> ");
  terminal.type("What is bad?\n");
  const std::string harmless = terminal.until("> ");
  EXPECT_THAT(harmless, HasSubstr("\\x1b[2Jx\\x07y"));
  EXPECT_THAT(harmless, Not(HasSubstr("\x1b")));
  // What cannot be done does not end the conversation.
  terminal.type("/sing\n");
  terminal.until("no such command");
  terminal.until("> ");
  terminal.type("\x04");
  EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(Chat, CtrlCStopsAnAnswerAndThenTheConversation) {
  const std::string file = models().path("stopped.jsonl");
  // A model that has seldom seen a text end.
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "one two three four five ";
  const ChildResult prepared = models().jobs().tool(
      {"data", "prepare", "--tokenizer", models().path("data/tokenizer"), "--out",
       models().path("endless"), models().write("endless.txt", text)});
  ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
  models().train("endless", "pretrain",
                 fmt::format("validation = 0\nsources = [{{ path = \"{}\" }}]\n",
                             models().path("endless/endless.tok")),
                 60);
  Terminal terminal(argv("endless", {"--template", "plain", "--tokens", "100000"}));
  terminal.until("> ");
  terminal.type("one two\n");
  // The line's echo, then words.
  terminal.until("one two\r\n");
  terminal.until("three");
  terminal.type("\x03");
  terminal.until("(stopped; what was said is kept)", 10);
  terminal.until("> ");
  terminal.type("/save " + file + "\n");
  terminal.until("2 messages appended");
  terminal.until("> ");
  terminal.type("\x03");
  EXPECT_EQ(terminal.exit_code(), 0);
  const auto messages = boost::json::parse(models().read("stopped.jsonl")).at("messages");
  EXPECT_FALSE(messages.as_array().at(1).at("content").as_string().empty());
}

}  // namespace
}  // namespace talaria::worker
