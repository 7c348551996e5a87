// SPDX-License-Identifier: Apache-2.0
// The files of an attempt: their JSON, whatever a user puts in their place, and who holds the lock.
#include "launch/attempt/attempt.h"

#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/attempt/small_file.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

AttemptSpec a_spec() {
  AttemptSpec spec;
  spec.attempt_id = "j1-s0-a003-5f0c";
  spec.attempt = 3;
  spec.ranks = 8;
  spec.nodes = 2;
  spec.run_directory = "/runs/a \"b\"\n\xff";
  spec.working_directory = "/";
  spec.job_toml = "[job]\nname = \"x\"\n";
  spec.secret = "00ff";
  spec.channel = "node1:4000";
  spec.argv = {"mpirun", "-n", "8", "", "$(id)", "'\"\\\x1b[31m"};
  spec.environment = {{"A", "1"}, {"B", "x=y\n"}};
  spec.memory_limit = std::int64_t{1} << 40;
  spec.stopped_seconds = 2.5;
  spec.stop_grace_seconds = 600;
  return spec;
}

RankExit a_rank_exit() {
  RankExit exit;
  exit.rank = 3;
  exit.node = "node1";
  exit.pid = 1234;
  exit.signal = 9;
  exit.out_of_memory = true;
  exit.orphaned = true;
  exit.started = 1795533647.25;
  exit.ended = 1795533650.5;
  exit.phase = "save";
  exit.step = 17;
  return exit;
}

ExitReport a_report() {
  ExitReport report;
  report.attempt_id = "j1";
  report.attempt = 3;
  report.outcome = Outcome::kInvalid;
  report.exit_code = 2;
  report.started = 1.5;
  report.failed = 2.5;
  report.ended = 3.5;
  report.reason = "rank 3 \"said\" \\x1b";
  report.first = a_rank_exit();
  report.last_lines = {"a", "", "é"};
  report.ranks = {a_rank_exit()};
  report.survivors = {17, 18};
  return report;
}

class AttemptFiles : public testing::Test {
 protected:
  AttemptFiles()
      : folder_(fs::temp_directory_path() / fmt::format("talaria_attempt_{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "attempt-001");
  }
  ~AttemptFiles() override { fs::remove_all(folder_); }

  void write(const fs::path& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }

  // The error of reading exit.json, "" for none.
  std::string complaint() const {
    try {
      read_exit(folder_, 1);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  fs::path folder_;
};

TEST(AttemptJson, WhatIsWrittenIsRead) {
  EXPECT_EQ(to_json(parse_spec(to_json(a_spec()))), to_json(a_spec()));
  EXPECT_EQ(parse_spec(to_json(a_spec())).argv, a_spec().argv);
  EXPECT_EQ(parse_spec(to_json(a_spec())).run_directory, a_spec().run_directory);
  EXPECT_EQ(parse_spec(to_json(a_spec())).environment, a_spec().environment);
  EXPECT_EQ(to_json(parse_exit(to_json(a_report()))), to_json(a_report()));
  EXPECT_EQ(to_json(parse_rank_exit(to_json(a_rank_exit()))), to_json(a_rank_exit()));
  ExitReport empty;
  empty.attempt_id = "x";
  EXPECT_FALSE(parse_exit(to_json(empty)).first.has_value());
}

TEST(AttemptJson, AReportOfManyRanksStaysReadable) {
  ExitReport report = a_report();
  report.ranks.assign(100'000, a_rank_exit());
  const std::string text = to_json(report);
  EXPECT_LE(text.size(), kMostFileBytes);
  EXPECT_EQ(parse_exit(text).ranks.size(), kMostRanks);
}

// Whatever is done to the text, parsing gives a value or an Error, and the Error shows no content.
TEST(AttemptJson, DamagedTextIsAnErrorWithoutItsContent) {
  std::mt19937 random(7);
  const std::string texts[] = {to_json(a_spec()), to_json(a_report()), to_json(a_rank_exit())};
  for (int round = 0; round < 20'000; ++round) {
    std::string text = texts[round % 3];
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
          break;
        default:
          text.resize(at);
      }
      if (text.empty()) text.push_back('0');
    }
    try {
      switch (round % 3) {
        case 0:
          parse_spec(text);
          break;
        case 1:
          parse_exit(text);
          break;
        default:
          parse_rank_exit(text);
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), Not(HasSubstr("node1")));
    }
  }
}

TEST(AttemptJson, ValuesOutOfRangeAreRefusedByName) {
  const auto with = [](const std::string& member, const std::string& value) {
    std::string text = to_json(a_spec());
    const std::size_t at = text.find(fmt::format("\"{}\":", member)) + member.size() + 3;
    std::size_t end = text.find(",\"", at);
    if (text[at] == '[') end = text.find("],\"", at) + 1;
    return text.replace(at, end - at, value);
  };
  const std::pair<const char*, const char*> cases[] = {{"attempt_id", "\"../x\""},
                                                       {"attempt_id", "\"\""},
                                                       {"attempt", "0"},
                                                       {"attempt", "1e99"},
                                                       {"attempt", "18446744073709551615"},
                                                       {"ranks", "-1"},
                                                       {"ranks", "\"8\""},
                                                       {"run_directory", "\"relative\""},
                                                       {"working_directory", "\"\""},
                                                       {"argv", "[]"},
                                                       {"argv", "[1]"},
                                                       {"argv", "[\"a\\u0000b\"]"},
                                                       {"environment", "[[\"A=B\",\"1\"]]"},
                                                       {"environment", "[[\"A\"]]"},
                                                       {"memory_limit", "-1"},
                                                       {"stopped_seconds", "-1"},
                                                       {"stopped_seconds", "1e400"},
                                                       {"stop_grace_seconds", "null"}};
  for (const auto& [member, value] : cases) {
    SCOPED_TRACE(fmt::format("{} {}", member, value));
    try {
      parse_spec(with(member, value));
      ADD_FAILURE() << "was taken";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AnyOf(HasSubstr(member), HasSubstr("not JSON")));
    }
  }
  EXPECT_THROW(parse_exit(std::string(100'000, '[')), Error);
}

TEST_F(AttemptFiles, NamesAreThoseOfTheRunDirectory) {
  EXPECT_EQ(attempt_folder("/r", 3), "/r/attempt-003");
  EXPECT_EQ(attempt_folder("/r", 1234), "/r/attempt-1234");
  EXPECT_EQ(rank_file(3, ".log"), "rank-00003.log");
}

TEST_F(AttemptFiles, NoExitIsNothingAndAWholeOneIsRead) {
  EXPECT_FALSE(read_exit(folder_, 1).has_value());
  EXPECT_FALSE(read_exit(folder_ / "missing", 1).has_value());
  write("attempt-001/exit.json", to_json(a_report()));
  ASSERT_TRUE(read_exit(folder_, 1).has_value());
  EXPECT_EQ(read_exit(folder_, 1)->outcome, Outcome::kInvalid);
}

// A daemon of root reads in a user's folder: it must not be led to another's files, not wait for
// ever, not read for ever, not show what it read.
TEST_F(AttemptFiles, WhatIsNoReportIsRefusedAndNotShown) {
  const fs::path exit = folder_ / "attempt-001/exit.json";
  const std::string secret = "root:x:0:0";
  write("passwd", secret);
  write("attempt-001/exit.json", secret);
  EXPECT_THAT(complaint(), testing::AllOf(HasSubstr("exit.json"), Not(HasSubstr("root"))));
  fs::remove(exit);
  fs::create_symlink(folder_ / "passwd", exit);
  EXPECT_THAT(complaint(), HasSubstr("symbolic links"));
  fs::remove(exit);
  ASSERT_EQ(::mkfifo(exit.c_str(), 0600), 0);
  EXPECT_THAT(complaint(), HasSubstr("not a regular file"));
  fs::remove(exit);
  fs::create_directory(exit);
  EXPECT_THAT(complaint(), HasSubstr("not a regular file"));
  fs::remove(exit);
  write("attempt-001/exit.json", std::string(kMostFileBytes + 1, ' '));
  EXPECT_THAT(complaint(), HasSubstr("above"));
  fs::remove_all(folder_ / "attempt-001");
  fs::create_directory(folder_ / "elsewhere");
  write("elsewhere/exit.json", to_json(a_report()));
  fs::create_directory_symlink(folder_ / "elsewhere", folder_ / "attempt-001");
  EXPECT_NE(complaint(), "");
}

TEST_F(AttemptFiles, AReservedFileAppearsWholeAndOfItsOwnLength) {
  const fs::path path = folder_ / "x";
  {
    ReservedFile file(path, 0600, 1 << 16);
    EXPECT_FALSE(fs::exists(path));
    EXPECT_GE(fs::file_size(folder_ / "x.tmp"), 1U << 16);
    file.write("short\n", true);
  }
  EXPECT_EQ(read_file(path), "short\n");
  EXPECT_FALSE(fs::exists(folder_ / "x.tmp"));
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(read_file_end(folder_, "x", 3), "rt\n");
  EXPECT_EQ(read_file_end(folder_, "missing", 3), "");
}

// A process that holds the lock of `folder` with these words in it.
class Holder {
 public:
  Holder(const fs::path& folder, const std::string& words) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno("pipe2", "test");
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) hold(folder / "launch.lock", words, write_end.get());
    write_end.reset();
    char byte = 0;
    if (::read(read_end.get(), &byte, 1) != 1) fail("the holder could not lock");
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { end(); }
  int end() {
    int status = 0;
    if (pid_ == 0) return status;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void hold(const fs::path& path, std::string words, int ready) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    if (const auto at = words.find("PID"); at != std::string::npos) {
      words.replace(at, 3, std::to_string(::getpid()));
    }
    if (fd < 0 || ::fcntl(fd, F_OFD_SETLK, &lock) != 0 ||
        ::write(fd, words.data(), words.size()) < 0 || ::write(ready, "x", 1) != 1) {
      ::_exit(1);
    }
    ::alarm(60);
    while (true) ::pause();
  }
  pid_t pid_ = 0;
};

std::string host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

TEST_F(AttemptFiles, TheHolderOfTheLockIsFoundWithoutTakingIt) {
  EXPECT_FALSE(find_launcher(folder_).alive);
  write("launch.lock", "pid 1 on somewhere, attempt old\n");
  EXPECT_FALSE(find_launcher(folder_).alive);
  Holder holder(folder_, fmt::format("pid PID on {}, attempt j1-a001\n", host()));
  for (int i = 0; i < 2; ++i) {
    const LauncherState state = find_launcher(folder_);
    EXPECT_TRUE(state.alive);
    EXPECT_EQ(state.pid, holder.pid());
    EXPECT_EQ(state.host, host());
    EXPECT_EQ(state.attempt_id, "j1-a001");
  }
  holder.end();
  EXPECT_FALSE(find_launcher(folder_).alive);
}

TEST_F(AttemptFiles, AHolderThatSaysNothingSensibleIsAliveAndNameless) {
  for (const char* words : {"", "pid", "pid x on y, attempt z", "pid 5 on \x1b[31m, attempt a",
                            "pid -1 on h, attempt a", "pid 5 on h, attempt A B",
                            "pid 99999999999999 on h, attempt a"}) {
    SCOPED_TRACE(words);
    const Holder holder(folder_, words);
    const LauncherState state = find_launcher(folder_);
    EXPECT_TRUE(state.alive);
    EXPECT_EQ(state.pid, 0);
    EXPECT_EQ(state.host + state.attempt_id, "");
  }
  fs::remove(folder_ / "launch.lock");
  fs::create_symlink("/etc/passwd", folder_ / "launch.lock");
  EXPECT_THROW(find_launcher(folder_), Error);
}

TEST_F(AttemptFiles, ASignalGoesToTheLauncherOfTheAttemptOnly) {
  const std::string words = fmt::format("pid PID on {}, attempt j1-a001\n", host());
  Holder holder(folder_, words);
  EXPECT_FALSE(signal_launcher(folder_, "j1-a002", SIGTERM));
  EXPECT_TRUE(signal_launcher(folder_, "j1-a001", SIGTERM));
  const int status = holder.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  EXPECT_FALSE(signal_launcher(folder_, "j1-a001", SIGTERM));
}

TEST_F(AttemptFiles, AUsersLockDirectsNoSignalAtAnothersProcess) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: files of two users";
  Holder victim(folder_, "");
  fs::remove(folder_ / "launch.lock");
  const Holder holder(folder_, fmt::format("pid {} on {}, attempt a\n", victim.pid(), host()));
  ASSERT_EQ(::chown((folder_ / "launch.lock").c_str(), 65534, 65534), 0);
  EXPECT_TRUE(find_launcher(folder_).alive);
  EXPECT_FALSE(signal_launcher(folder_, "a", SIGKILL));
  EXPECT_EQ(::kill(victim.pid(), 0), 0);
}

}  // namespace
}  // namespace talaria::launch
