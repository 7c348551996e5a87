// SPDX-License-Identifier: Apache-2.0
// The program `talaria` as a user meets it: help, completion, wrong usage; and over a coordinator
// that only pretends, `run` to each of its ends, with signals, without a terminal and on one.
#include <csignal>
#include <filesystem>
#include <regex>
#include <set>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/subprocess.h"
#include "tests/support/child_process.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

const std::string kReal = std::string(TALARIA_BIN_DIR) + "/talaria";
const std::string kFake = std::string(TALARIA_BIN_DIR) + "/fake_talaria";

class Command : public testing::Test {
 protected:
  Command() {
    std::string name = (fs::temp_directory_path() / "talaria_command_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Command() override { fs::remove_all(folder_); }

  std::vector<std::string> argv(const std::string& program, std::vector<std::string> args) const {
    std::vector<std::string> all = {"env",
                                    "-C",
                                    folder_.string(),
                                    "HOME=" + folder_.string(),
                                    "XDG_STATE_HOME=" + (folder_ / "state").string(),
                                    "TALARIA_STATE_DIR=" + (folder_ / "daemon").string(),
                                    program};
    all.insert(all.end(), args.begin(), args.end());
    return all;
  }
  Captured real(const std::vector<std::string>& args) const {
    return run_captured(argv(kReal, args), 30.0);
  }
  Captured fake(const std::vector<std::string>& args) const {
    return run_captured(argv(kFake, args), 30.0);
  }
  // A job file whose name says how the pretended coordinator treats it.
  std::string job(const std::string& name) const {
    const fs::path path = folder_ / (name + ".toml");
    write_file_atomic(path,
                      "[job]\nname = \"" + name +
                          "\"\n[data]\nsources = [{ path = \"a.tok\" }]\n[train]\nsteps = 60\n");
    return path.string();
  }

  fs::path folder_;
};

std::vector<std::string> command_names() {
  const std::string help = run_captured({kReal, "--help"}, 30.0).out;
  std::vector<std::string> names;
  const std::regex line("\n  ([a-z]+) +[A-Z]");
  for (std::sregex_iterator at(help.begin(), help.end(), line), end; at != end; ++at) {
    names.push_back((*at)[1]);
  }
  return names;
}

TEST_F(Command, EveryHelpRuns) {
  const std::vector<std::string> names = command_names();
  EXPECT_THAT(names, testing::IsSupersetOf({"run", "coordinator", "submit", "ps", "show", "logs",
                                            "watch", "cancel", "retry", "script", "doctor", "data",
                                            "checkpoint", "generate", "summary", "completion"}));
  for (const std::string& name : names) {
    const Captured help = real({name, "--help"});
    EXPECT_EQ(help.exit_code, 0) << name << help.err;
    EXPECT_THAT(help.out, HasSubstr("--help")) << name;
    EXPECT_EQ(help.err, "") << name;
  }
  EXPECT_THAT(real({"--version"}).out, testing::StartsWith("talaria "));
}

TEST_F(Command, CompletionIsGoodShell) {
  const Captured bash = real({"completion", "bash"});
  EXPECT_EQ(run_captured({"bash", "-n"}, 10.0, bash.out).exit_code, 0);
  const std::string ask =
      bash.out +
      "COMP_WORDS=(talaria ru); COMP_CWORD=1; _talaria; echo \"first: ${COMPREPLY[*]}\"\n"
      "COMP_WORDS=(talaria run --prog); COMP_CWORD=2; _talaria; echo \"option: ${COMPREPLY[*]}\"\n"
      "COMP_WORDS=(talaria data pre); COMP_CWORD=2; _talaria; echo \"second: ${COMPREPLY[*]}\"\n"
      "COMP_WORDS=(talaria data ch); COMP_CWORD=2; _talaria; echo \"chat: ${COMPREPLY[*]}\"\n"
      "COMP_WORDS=(talaria coordinator --cra); COMP_CWORD=2; _talaria; echo \"hid: "
      "${COMPREPLY[*]}\"\n";
  const Captured answers = run_captured({"bash"}, 10.0, ask);
  EXPECT_EQ(answers.out, "first: run\noption: --progress\nsecond: prepare\nchat: chat\nhid: \n")
      << answers.err;
  for (const char* shell : {"zsh", "fish"}) {
    EXPECT_THAT(real({"completion", shell}).out, HasSubstr("progress")) << shell;
  }
  EXPECT_EQ(real({"completion", "tcsh"}).exit_code, 2);
}

TEST_F(Command, CompletionKnowsTheOptionsOfScriptAndDoctor) {
  const std::regex option("--[a-z][a-z-]*");
  const auto options_in = [&](const std::string& text) {
    return std::set<std::string>(std::sregex_token_iterator(text.begin(), text.end(), option),
                                 std::sregex_token_iterator());
  };
  const std::string bash = real({"completion", "bash"}).out;
  for (const std::string name : {"script", "doctor"}) {
    const std::size_t at = bash.find("    " + name + ") words=");
    ASSERT_NE(at, std::string::npos) << name;
    std::string help = real({name, "--help"}).out;
    help.erase(help.find("Example") == std::string::npos ? help.size() : help.find("Example"));
    EXPECT_EQ(options_in(bash.substr(at, bash.find('\n', at) - at)), options_in(help)) << name;
  }
}

TEST_F(Command, WrongUsageIsOneLineAndExitCode2) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"fly"},
      {"run"},
      {"run", "nothing.toml"},
      {"run", "--frobnicate", "x"},
      {"run", job("good"), "--set", "train.step=3"},
      {"run", job("good"), "--set", "nonsense"},
      {"run", job("good"), "--progress", "loud"},
      {"submit", job("good")},  // no daemon
      {"show", "7"},
      {"show", "$(id)\n\x1b[2J"},
      {"cancel", "../../etc"},
      {"logs", "nothing", "--rank", "-1"},
      {"logs", "nothing", "--attempt", "0"},
      {"watch", ""},
      {"ps", "extra"},
      {"coordinator", "--jobs", "0"},
      {"show", std::string(10'000, 'x')}};
  for (const std::vector<std::string>& args : cases) {
    const Captured run = real(args);
    EXPECT_EQ(run.exit_code, 2) << (args.empty() ? "" : args[0]) << run.err;
    if (args.empty()) continue;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    EXPECT_EQ(run.err.find('\x1b'), std::string::npos);
    EXPECT_EQ(run.out, "");
  }
}

TEST_F(Command, WorkersCommandsGetTheirArgumentsAsTheyAre) {
  const std::string worker = std::string(TALARIA_BIN_DIR) + "/talaria-worker";
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"data", "inspect", "no such $(id)"},
        std::vector<std::string>{"summary", "--run-dir", "-x"},
        std::vector<std::string>{"checkpoint", "--help"}}) {
    const Captured through = real(args);
    const Captured direct = run_captured(argv(worker, args), 30.0);
    EXPECT_EQ(through.exit_code, direct.exit_code);
    EXPECT_EQ(through.out, direct.out);
    EXPECT_EQ(through.err, direct.err);
  }
}

TEST_F(Command, ARunToItsEnd) {
  const Captured run = fake({"run", job("good"), "--json"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, HasSubstr("attempt 1 starts, 8 ranks\n"));
  EXPECT_THAT(run.err, HasSubstr("checkpoint at step 50\n"));
  EXPECT_THAT(run.err, HasSubstr("\ndone: 60 steps, loss 8.0000, in "));
  EXPECT_THAT(run.err, Not(HasSubstr("\033")));
  const boost::json::value view = boost::json::parse(run.out);
  EXPECT_EQ(view.at("state").as_string(), "done");
  EXPECT_TRUE(fs::exists(folder_ / "runs/good/coordinator/api.sock"));
}

TEST_F(Command, AFailureSaysWhoAndWhere) {
  const Captured run = fake({"run", job("fails"), "--run-dir", "here"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, HasSubstr("failed: rank 3 on node1 was killed by signal 9 (SIGKILL) in step "
                                 "20 \\x1b[31m; restart 2 of at most 3 in 0.5 s"));
  EXPECT_THAT(run.err, HasSubstr("\n  the last line\\x1b[2J of rank 3\nlog: "));
  EXPECT_THAT(run.err, HasSubstr("/here/attempt-003/rank-00003.log\n"));
  EXPECT_THAT(run.err, HasSubstr("it goes on from the checkpoint at step 20"));
}

// Runs a job that never ends and sends it signals, each once `text` stands in the output and
// `pause` seconds after the one before.
ChildResult run_with_signals(const std::vector<std::string>& argv,
                             const std::vector<std::pair<std::string, int>>& signals,
                             double pause = 0.0) {
  std::size_t sent = 0;
  double last = 0.0;
  return run_child(argv, 30.0, [&](pid_t pid, const std::string& output) {
    if (sent == signals.size() || monotonic_seconds() - last < pause) return;
    if (output.find(signals[sent].first) == std::string::npos) return;
    ::kill(pid, signals[sent++].second);
    last = monotonic_seconds();
  });
}

TEST_F(Command, ASignalStopsWithACheckpoint) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const ChildResult run =
        run_with_signals(argv(kFake, {"run", job("slow"), "--run-dir", fmt::format("r{}", signal)}),
                         {{"checkpoint at step 10", signal}});
    EXPECT_EQ(run.exit_code, 75) << run.output;
    EXPECT_THAT(run.output, HasSubstr("the ranks stop with a checkpoint; once more ends them"));
    EXPECT_THAT(run.output, HasSubstr("start it again to go on"));
  }
}

TEST_F(Command, ASecondSignalEndsAtOnce) {
  const ChildResult run =
      run_with_signals(argv(kFake, {"run", job("slow")}),
                       {{"checkpoint at step 10", SIGINT}, {"once more ends them", SIGINT}}, 0.5);
  EXPECT_EQ(run.exit_code, 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("Ctrl-C: the ranks stop with a checkpoint"));
}

TEST_F(Command, OneRequestThatComesTwiceIsOne) {
  // As timeout(1) sends it: to the process and to its group.
  const ChildResult run =
      run_with_signals(argv(kFake, {"run", job("slow")}),
                       {{"checkpoint at step 10", SIGTERM}, {"checkpoint at step 10", SIGTERM}});
  EXPECT_EQ(run.exit_code, 75) << run.output;
  EXPECT_THAT(run.output, Not(HasSubstr("SIGTERM again")));
}

TEST_F(Command, OthersSeeAndCancelARun) {
  const std::string run_directory = (folder_ / "runs/slow").string();
  bool asked = false;
  const ChildResult run =
      run_child(argv(kFake, {"run", job("slow")}), 30.0, [&](pid_t, const std::string& output) {
        if (asked || output.find("checkpoint at step 10") == std::string::npos) return;
        asked = true;
        const Captured ps = fake({"ps"});
        EXPECT_THAT(ps.out, HasSubstr("run  slow  "));
        EXPECT_THAT(ps.out, HasSubstr("running"));
        EXPECT_THAT(fake({"show", "slow"}).out, HasSubstr("node1"));
        EXPECT_THAT(fake({"show", run_directory, "--json"}).out, HasSubstr("\"reports\":[{"));
        EXPECT_THAT(fake({"logs", "slow", "--rank", "0"}).out, HasSubstr("rank 0   | 2026-11-24"));
        EXPECT_EQ(fake({"retry", "slow"}).exit_code, 2);
        EXPECT_EQ(fake({"cancel", "slow"}).exit_code, 0);
      });
  EXPECT_TRUE(asked);
  EXPECT_EQ(run.exit_code, 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("asked to cancel: talaria cancel"));
}

TEST_F(Command, ADaemonServesAndARunFollows) {
  const ChildResult daemon = run_child(
      argv(kFake, {"coordinator"}), 40.0,
      [&, done = false](pid_t pid, const std::string& output) mutable {
        if (done || output.find("serves") == std::string::npos) return;
        done = true;
        EXPECT_EQ(fake({"submit", job("good"), "--run-dir", "a"}).out, "1\n");
        EXPECT_EQ(fake({"submit", job("good"), "--run-dir", "b", "--json"}).out, "{\"id\":2}\n");
        EXPECT_EQ(fake({"submit", job("good"), "--run-dir", "b"}).exit_code, 2);
        const Captured run = fake({"run", job("fails")});
        EXPECT_EQ(run.exit_code, 1);
        EXPECT_THAT(run.err, HasSubstr("job 3 of the coordinator at "));
        EXPECT_EQ(fake({"watch", "1"}).exit_code, 0);
        EXPECT_THAT(fake({"logs", "-f", "1"}).out, HasSubstr("step 60\n"));
        EXPECT_EQ(fake({"cancel", "1"}).exit_code, 2);
        EXPECT_THAT(fake({"ps"}).out, HasSubstr(" 3  fails  "));
        EXPECT_EQ(fake({"retry", "fails"}).exit_code, 0);
        EXPECT_EQ(fake({"cancel", "fails", "--now"}).exit_code, 0);
        ::kill(pid, SIGTERM);
      });
  EXPECT_EQ(daemon.exit_code, 0) << daemon.output;
}

// What `argv` writes to a terminal of this size.
std::string on_a_terminal(const std::vector<std::string>& argv, unsigned short columns, int& code) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = columns;
  int terminal = -1;
  const pid_t child = check_sys(::forkpty(&terminal, nullptr, nullptr, &size), "forkpty", "");
  if (child == 0) {
    ::alarm(30);
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
    std::vector<char*> words;
    words.reserve(argv.size() + 1);
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  const UniqueFd fd(terminal);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(fd.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return text;
}

TEST_F(Command, ATerminalGetsAView) {
  int code = -1;
  const std::string text = on_a_terminal(argv(kFake, {"run", job("good")}), 60, code);
  EXPECT_EQ(code, 0);
  EXPECT_THAT(text, HasSubstr("\033[32mrunning\033[0m"));
  EXPECT_THAT(text, HasSubstr("step 60/60"));
  EXPECT_THAT(text, HasSubstr("\r\033["));  // redrawn in place
  // The screen is never cleared and the cursor never hidden.
  EXPECT_THAT(text, Not(HasSubstr("\033[2J")));
  EXPECT_THAT(text, Not(HasSubstr("\033[?25l")));
  std::vector<std::string> plain = argv(kFake, {"run", job("good"), "--run-dir", "other"});
  plain.insert(plain.end() - 5, "NO_COLOR=1");
  EXPECT_THAT(on_a_terminal(plain, 60, code), Not(HasSubstr("\033[32m")));
}

}  // namespace
}  // namespace talaria
