// SPDX-License-Identifier: Apache-2.0
// The reporter against coordinators of every manner: what they hear, and that none of them costs
// the rank anything.
#include "worker/reporter.h"

#include <cmath>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "tests/support/fake_coordinator.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using wire::Beat;
using wire::Bye;
using wire::Hello;
using wire::Phase;
using Manner = FakeCoordinator::Manner;

constexpr double kPatience = 20.0;  // for what must come, on a busy machine

class ReporterTest : public testing::Test {
 protected:
  ReporterTest() : status_(std::make_shared<wire::RankStatus>()) {
    std::string name = (fs::temp_directory_path() / "talaria-reporter-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
    folder_ = name;
    status_->enter(Phase::kStart);
  }
  ~ReporterTest() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  std::unique_ptr<Reporter> start() const {
    auto reporter = std::make_unique<Reporter>(status_);
    reporter->start({folder_, "j7-s0-a002-beef", 3, 8});
    return reporter;
  }

  // Ends the reporter; the seconds that took.
  static double end(std::unique_ptr<Reporter> reporter) {
    const double before = monotonic_seconds();
    reporter->finish(0);
    reporter.reset();
    return monotonic_seconds() - before;
  }

  static bool beats(const std::vector<Heard>& heard, std::size_t count) {
    return only<Beat>(heard).size() >= count;
  }

  fs::path folder_;
  std::shared_ptr<wire::RankStatus> status_;
};

TEST_F(ReporterTest, RegistersBeatsAndSaysBye) {
  const FakeCoordinator coordinator(folder_, Manner::kWelcome);
  auto reporter = start();
  status_->steps = 100;
  status_->step = 7;
  status_->loss = 2.5;
  status_->tokens_per_second = 1000.0;
  status_->mfu = 0.5;
  status_->validation_loss = 2.75;
  status_->checkpoint_step = 5;
  status_->wait = static_cast<std::int32_t>(wire::Wait::kAllReduce);
  reporter->enter(Phase::kStep);
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) {
    return !only<Beat>(heard).empty() && only<Beat>(heard).back().phase == Phase::kStep;
  }));
  const Hello hello = only<Hello>(coordinator.heard()).at(0);
  EXPECT_EQ(hello.attempt_id, "j7-s0-a002-beef");
  EXPECT_EQ(hello.secret, FakeCoordinator::kSecret);
  EXPECT_EQ(hello.rank, 3);
  EXPECT_EQ(hello.world, 8);
  EXPECT_EQ(hello.pid, ::getpid());
  EXPECT_FALSE(hello.host.empty());
  const Beat beat = only<Beat>(coordinator.heard()).back();
  EXPECT_EQ(beat.step, 7);
  EXPECT_EQ(beat.steps, 100);
  EXPECT_EQ(beat.loss, 2.5);
  EXPECT_EQ(beat.tokens_per_second, 1000.0);
  EXPECT_EQ(beat.mfu, 0.5);
  EXPECT_EQ(beat.validation_loss, 2.75);
  EXPECT_EQ(beat.checkpoint_step, 5);
  EXPECT_EQ(beat.wait, wire::Wait::kAllReduce);
  EXPECT_LT(beat.phase_seconds, kPatience);
  EXPECT_GT(beat.rss_bytes, 1 << 20);

  status_->step = 100;
  reporter->enter(Phase::kFinish);
  reporter->finish(75);
  ASSERT_TRUE(
      coordinator.wait(kPatience, [](const auto& heard) { return !only<Bye>(heard).empty(); }));
  const std::vector<Heard> heard = coordinator.heard();
  EXPECT_EQ(only<Bye>(heard).at(0).exit_code, 75);
  EXPECT_TRUE(std::holds_alternative<Bye>(heard.back().message));
  EXPECT_EQ(only<Beat>(heard).back().step, 100) << "the last words tell the last step";
  EXPECT_EQ(coordinator.connections(), 1);
}

TEST_F(ReporterTest, WhatIsNotKnownIsNotInvented) {
  const FakeCoordinator coordinator(folder_, Manner::kWelcome);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  const Beat beat = only<Beat>(coordinator.heard()).at(0);
  EXPECT_TRUE(std::isnan(beat.loss));
  EXPECT_FALSE(beat.validation_loss.has_value());
  EXPECT_EQ(beat.checkpoint_step, -1);
}

TEST_F(ReporterTest, ANewPhaseIsToldAtOnceAndTheSamePhaseIsNot) {
  const FakeCoordinator coordinator(folder_, Manner::kWelcome, 60.0);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  for (const Phase phase : {Phase::kSetup, Phase::kStep, Phase::kSave}) {
    reporter->enter(phase);
    ASSERT_TRUE(coordinator.wait(
        kPatience, [phase](const auto& heard) { return only<Beat>(heard).back().phase == phase; }));
  }
  const std::size_t before = only<Beat>(coordinator.heard()).size();
  for (int i = 0; i < 10; ++i) reporter->enter(Phase::kSave);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(only<Beat>(coordinator.heard()).size(), before);
}

TEST_F(ReporterTest, AtMostTwentyBeatsASecond) {
  const FakeCoordinator coordinator(folder_, Manner::kWelcome, 60.0);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  const double start = monotonic_seconds();
  while (monotonic_seconds() < start + 0.5) {
    reporter->enter(Phase::kStep);
    reporter->enter(Phase::kSave);
  }
  const double seconds = monotonic_seconds() - start;
  const auto count = static_cast<double>(only<Beat>(coordinator.heard()).size());
  EXPECT_LE(count, 2 + 20 * seconds);
  EXPECT_GE(count, 3);
}

TEST_F(ReporterTest, AStopIsHeard) {
  FakeCoordinator coordinator(folder_, Manner::kWelcome);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  EXPECT_FALSE(reporter->stop_requested());
  coordinator.send_stop();
  const double deadline = monotonic_seconds() + kPatience;
  while (!reporter->stop_requested() && monotonic_seconds() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(reporter->stop_requested());
  const std::size_t before = only<Beat>(coordinator.heard()).size();
  EXPECT_TRUE(coordinator.wait(kPatience, [before](const auto& heard) {
    return beats(heard, before + 2);
  })) << "it goes on beating";
}

TEST_F(ReporterTest, ARefusedRankTriesNoMore) {
  const FakeCoordinator coordinator(folder_, Manner::kRefuse);
  auto reporter = start();
  ASSERT_TRUE(
      coordinator.wait(kPatience, [](const auto& heard) { return !only<Hello>(heard).empty(); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(coordinator.connections(), 1);
  EXPECT_TRUE(only<Beat>(coordinator.heard()).empty());
  EXPECT_LT(end(std::move(reporter)), 0.5);
}

TEST_F(ReporterTest, ACoordinatorComesBackOnAnotherPort) {
  auto first = std::make_unique<FakeCoordinator>(folder_, Manner::kWelcome);
  auto reporter = start();
  ASSERT_TRUE(first->wait(kPatience, [](const auto& heard) { return beats(heard, 2); }));
  first.reset();
  status_->step = 41;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  status_->step = 42;
  const FakeCoordinator second(folder_, Manner::kWelcome);
  ASSERT_TRUE(second.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  EXPECT_EQ(only<Hello>(second.heard()).size(), 1U);
  EXPECT_EQ(only<Beat>(second.heard()).at(0).step, 42) << "old beats are dropped";
}

TEST_F(ReporterTest, ACoordinatorThatRavesIsLeftAndTriedAgain) {
  const FakeCoordinator coordinator(folder_, Manner::kRaving);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience,
                               [](const auto& heard) { return only<Hello>(heard).size() >= 2; }));
  EXPECT_FALSE(reporter->stop_requested());
  EXPECT_LT(end(std::move(reporter)), 1.2);
}

TEST_F(ReporterTest, ACoordinatorThatNeverReadsCostsNothing) {
  for (const Manner manner : {Manner::kMute, Manner::kDeaf}) {
    const FakeCoordinator coordinator(folder_, manner);
    auto reporter = start();
    const double start = monotonic_seconds();
    while (coordinator.connections() == 0 && monotonic_seconds() < start + kPatience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    double slowest = 0.0;
    for (int i = 0; i < 500; ++i) {
      const double before = monotonic_seconds();
      reporter->enter(i % 2 == 0 ? Phase::kStep : Phase::kSave);
      slowest = std::max(slowest, monotonic_seconds() - before);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_LT(slowest, 0.5);
    EXPECT_LT(end(std::move(reporter)), 1.2);
  }
}

TEST_F(ReporterTest, NobodyThereCostsNothing) {
  auto silent = start();  // no file `channel`
  silent->enter(Phase::kSetup);
  EXPECT_LT(end(std::move(silent)), 0.5);
  write_file_atomic(folder_ / "secret", "x");
  for (const char* channel :
       {"", "\n", "127.0.0.1:1\n", "no-such-host.invalid:4000", "nonsense", "127.0.0.1:0",
        "127.0.0.1:99999", ":80", "[::1]:1", "a\nb:1", "$(id):80"}) {
    write_file_atomic(folder_ / "channel", channel);
    auto reporter = start();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    reporter->enter(Phase::kStep);
    EXPECT_FALSE(reporter->stop_requested());
    EXPECT_LT(end(std::move(reporter)), 1.2) << channel;
  }
}

TEST_F(ReporterTest, AConnectThatHangsIsGivenUp) {
  // A full backlog: the kernel answers no further SYN.
  const UniqueFd listener(check_sys(::socket(AF_INET, SOCK_STREAM, 0), "socket", ""));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  check_sys(::bind(listener.get(), generic, size), "bind", "");
  check_sys(::listen(listener.get(), 0), "listen", "");
  check_sys(::getsockname(listener.get(), generic, &size), "getsockname", "");
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back(
        check_sys(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket", ""));
    // Never finished: it is there to wait.
    EXPECT_TRUE(::connect(waiting.back().get(), generic, size) == 0 || errno == EINPROGRESS);
  }
  write_file_atomic(folder_ / "secret", "x");
  write_file_atomic(folder_ / "channel", fmt::format("127.0.0.1:{}", ntohs(address.sin_port)));
  auto reporter = start();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(end(std::move(reporter)), 0.5);
  // Given up after two seconds, it looks where the coordinator is now.
  reporter = start();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const FakeCoordinator coordinator(folder_, Manner::kWelcome);
  EXPECT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
}

TEST_F(ReporterTest, WithoutFinishNoByeIsSaid) {
  const FakeCoordinator coordinator(folder_, Manner::kWelcome);
  auto reporter = start();
  ASSERT_TRUE(coordinator.wait(kPatience, [](const auto& heard) { return beats(heard, 1); }));
  reporter.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(only<Bye>(coordinator.heard()).empty());
}

TEST_F(ReporterTest, ItsThreadBlocksEverySignal) {
  auto reporter = start();
  std::string blocked;
  const double deadline = monotonic_seconds() + kPatience;
  while (blocked.empty() && monotonic_seconds() < deadline) {
    for (const auto& task : fs::directory_iterator("/proc/self/task")) {
      if (read_file(task.path() / "comm") != "reporter\n") continue;
      std::ifstream lines(task.path() / "status");
      for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("SigBlk:")) blocked = line.substr(line.find_first_not_of("\t ", 7));
      }
    }
  }
  // All but SIGKILL, SIGSTOP and the two that glibc keeps for itself.
  EXPECT_EQ(blocked, "fffffffe7ffbfeff");
  sigset_t mine;
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &mine), 0);
  EXPECT_EQ(::sigismember(&mine, SIGUSR2), 0) << "the starter's own mask is as it was";
}

}  // namespace
}  // namespace talaria::worker
