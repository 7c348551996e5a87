// SPDX-License-Identifier: Apache-2.0
// Real ranks as a launcher starts them: what they report to a coordinator and hear from it, that no
// manner of a coordinator changes the training, and what they leave behind.
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include <boost/json.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "tests/support/fake_coordinator.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using wire::Beat;
using wire::Bye;
using wire::Hello;
using wire::Phase;
using Manner = FakeCoordinator::Manner;

constexpr double kTimeout = 90;
constexpr const char* kAttemptId = "j1-s0-a001-c0de";
const std::string kWorker = std::string(TALARIA_BIN_DIR) + "/talaria-worker";

class Rank : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_rank_{}", ::getpid()),
                          kTinyModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  void SetUp() override {
    fs::remove_all(jobs_->path() / "run");
    fs::remove_all(attempt_folder());
    fs::create_directories(attempt_folder());
  }

  static fs::path attempt_folder() { return jobs_->path() / "attempt"; }

  static RunPlan two_ranks(std::int64_t steps) {
    RunPlan plan;
    plan.layout = {2, 1, 1};
    plan.set = {fmt::format("train.steps={}", steps), "optimizer.decay_steps=60",
                "checkpoint.every=5"};
    return plan;
  }

  // The same, reporting.
  static RunPlan reporting_ranks(std::int64_t steps) {
    RunPlan plan = two_ranks(steps);
    plan.args = {"--attempt", "1", "--attempt-id", kAttemptId, "--attempt-dir", attempt_folder()};
    return plan;
  }

  // One rank without mpirun, started by `prefix`, with these further options.
  static ChildResult run_alone(std::vector<std::string> prefix,
                               const std::vector<std::string>& options,
                               const std::function<void(pid_t)>& watch = nullptr) {
    prefix.insert(prefix.end(), {kWorker, "--job", (jobs_->path() / "job.toml").string(),
                                 "--run-dir", (jobs_->path() / "run").string()});
    prefix.insert(prefix.end(), options.begin(), options.end());
    return run_child(prefix, kTimeout, [&](pid_t pid, const std::string&) {
      if (watch) watch(pid);
    });
  }

  // The run has the bits of one that reports to nobody.
  static void expect_plain_bits() {
    if (jobs_->checkpoints("plain").empty()) {
      const ChildResult plain = jobs_->run("plain", two_ranks(kSteps), kTimeout);
      ASSERT_EQ(plain.exit_code, 0) << plain.output;
    }
    EXPECT_EQ(jobs_->loss_bits("run"), jobs_->loss_bits("plain"));
    EXPECT_EQ(jobs_->weights_hash("run"), jobs_->weights_hash("plain"));
  }

  static std::string events() { return read_file(jobs_->path() / "run/events.jsonl"); }
  static const JobFolder& jobs() { return *jobs_; }

  static constexpr std::int64_t kSteps = 12;

 private:
  static JobFolder* jobs_;
};

JobFolder* Rank::jobs_ = nullptr;

TEST_F(Rank, EveryRankReportsItsLifeAndTheBitsAreThose) {
  const FakeCoordinator coordinator(attempt_folder(), Manner::kWelcome, 0.02);
  const ChildResult result = jobs().run("run", reporting_ranks(kSteps), kTimeout);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  expect_plain_bits();
  EXPECT_THAT(result.output, testing::ContainsRegex("[0-9]+-[0-9]+-[0-9]+T[0-9:]+\\.[0-9][0-9][0-9]"
                                                    "Z rank 0: backend"));
  const std::vector<Heard> heard = coordinator.heard();
  std::map<int, int> rank_of;  // connection -> rank
  std::map<int, std::set<Phase>> phases;
  std::map<int, Beat> last;
  std::map<int, int> ends;
  for (const Heard& each : heard) {
    const int connection = each.connection;
    if (const auto* hello = std::get_if<Hello>(&each.message)) {
      rank_of[connection] = hello->rank;
      EXPECT_EQ(hello->world, 2);
      EXPECT_EQ(hello->attempt_id, kAttemptId);
      EXPECT_EQ(hello->secret, FakeCoordinator::kSecret);
    } else if (const auto* beat = std::get_if<Beat>(&each.message)) {
      EXPECT_GE(beat->step, last[rank_of.at(connection)].step);
      last[rank_of.at(connection)] = *beat;
      phases[rank_of.at(connection)].insert(beat->phase);
    } else {
      ends[rank_of.at(connection)] = std::get<Bye>(each.message).exit_code;
    }
  }
  const std::string loss = jobs().metric("run", "loss").at(kSteps);
  for (const int rank : {0, 1}) {
    EXPECT_EQ(last[rank].step, kSteps);
    EXPECT_EQ(last[rank].steps, kSteps);
    EXPECT_EQ(last[rank].checkpoint_step, kSteps);
    EXPECT_EQ(boost::json::serialize(boost::json::value(last[rank].loss)), loss);
    EXPECT_TRUE(last[rank].validation_loss.has_value());
    EXPECT_GT(last[rank].tokens_per_second, 0.0);
    EXPECT_GT(last[rank].mfu, 0.0);
    EXPECT_THAT(phases[rank], testing::IsSupersetOf({Phase::kSetup, Phase::kStep, Phase::kFinish}));
    ASSERT_TRUE(ends.contains(rank));
    EXPECT_EQ(ends[rank], 0);
  }
}

TEST_F(Rank, AContinuedRunTellsThatItRestores) {
  ASSERT_EQ(jobs().run("run", two_ranks(6), kTimeout).exit_code, 0);
  // Restoring takes as long as the test wants: there is a damaged checkpoint to tell of, and the
  // record of events is a pipe, which rank 0 cannot open before somebody reads.
  fs::create_directory(jobs().path() / "run/checkpoints/step-00000007");
  const fs::path pipe = jobs().path() / "run/events.jsonl";
  fs::remove(pipe);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const FakeCoordinator coordinator(attempt_folder(), Manner::kWelcome, 0.05);
  const auto restoring = [&] {
    std::set<int> connections;
    for (const Heard& each : coordinator.heard()) {
      const auto* beat = std::get_if<Beat>(&each.message);
      if (beat != nullptr && beat->phase == Phase::kRestore) connections.insert(each.connection);
    }
    return connections.size();
  };
  RunPlan plan = reporting_ranks(kSteps);
  plan.args[1] = "2";
  UniqueFd reader;
  const ChildResult result = jobs().run("run", plan, kTimeout, [&](pid_t, const std::string&) {
    if (!reader && restoring() == 2) reader = open_file(pipe, O_RDONLY | O_NONBLOCK);
  });
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(restoring(), 2U) << "both ranks, also the one that waits for the other to read";
  expect_plain_bits();
  for (const Beat& beat : only<Beat>(coordinator.heard())) {
    if (beat.phase == Phase::kStep) {
      EXPECT_GE(beat.checkpoint_step, 6);
    }
  }
  std::string told(1 << 16, '\0');
  told.resize(static_cast<std::size_t>(
      check_sys(::read(reader.get(), told.data(), told.size()), "read", pipe.string())));
  EXPECT_THAT(told, HasSubstr("\"kind\":\"fallback\""));
  EXPECT_THAT(told, HasSubstr("\"kind\":\"start\",\"text\":\"attempt 2: 2 ranks, from " +
                              (jobs().path() / "run/checkpoints/step-00000006").string()));
  EXPECT_THAT(told, testing::Not(HasSubstr("\"restart\"")));
}

TEST_F(Rank, AStopEndsTheRunWithACheckpoint) {
  FakeCoordinator coordinator(attempt_folder(), Manner::kWelcome, 0.02);
  const ChildResult result =
      jobs().run("run", reporting_ranks(1'000'000), kTimeout, [&](pid_t, const std::string&) {
        const auto beats = only<Beat>(coordinator.heard());
        if (!beats.empty() && beats.back().step >= 3) coordinator.send_stop();
      });
  ASSERT_EQ(result.exit_code, 75) << result.output;
  EXPECT_THAT(events(), HasSubstr("\"signal\""));
  EXPECT_FALSE(jobs().checkpoints("run").empty());
  const auto ends = only<Bye>(coordinator.heard());
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].exit_code, 75);
}

TEST_F(Rank, NoMannerOfACoordinatorChangesTheRun) {
  for (const Manner manner : {Manner::kMute, Manner::kDeaf, Manner::kRefuse}) {
    SetUp();
    const FakeCoordinator coordinator(attempt_folder(), manner, 0.02);
    const ChildResult result = jobs().run("run", reporting_ranks(kSteps), kTimeout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_GE(coordinator.connections(), 2);
    expect_plain_bits();
  }
}

TEST_F(Rank, ACoordinatorThatGoesAndComesBackElsewhereIsFound) {
  auto coordinator = std::make_unique<FakeCoordinator>(attempt_folder(), Manner::kWelcome, 0.02);
  int came_back = 0;
  const ChildResult result =
      jobs().run("run", reporting_ranks(1'000'000), kTimeout, [&](pid_t, const std::string&) {
        if (only<Beat>(coordinator->heard()).size() < 5) return;
        if (came_back == 2) return coordinator->send_stop();
        ++came_back;
        coordinator.reset();
        coordinator = std::make_unique<FakeCoordinator>(attempt_folder(), Manner::kWelcome, 0.02);
      });
  EXPECT_EQ(result.exit_code, 75) << result.output;
  EXPECT_EQ(came_back, 2);
  EXPECT_THAT(result.output, HasSubstr("answers again"));
}

TEST_F(Rank, AStoppedProcessIsSilentAndGoesOn) {
  FakeCoordinator coordinator(attempt_folder(), Manner::kWelcome, 0.02);
  double stopped = 0.0;
  std::size_t before = 0;
  std::size_t silent = 0;
  bool continued = false;
  const ChildResult result =
      run_alone({},
                {"--set", "train.steps=1000000", "--attempt-id", kAttemptId, "--attempt-dir",
                 attempt_folder()},
                [&](pid_t pid) {
                  const auto beats = only<Beat>(coordinator.heard());
                  if (stopped == 0.0 && !beats.empty() && beats.back().step >= 2) {
                    ::kill(pid, SIGSTOP);
                    stopped = monotonic_seconds();
                  } else if (stopped > 0.0 && !continued) {
                    // What was sent before may still arrive in the first moments.
                    if (monotonic_seconds() < stopped + 0.3) before = beats.size();
                    if (monotonic_seconds() < stopped + 1.0) return;
                    silent = beats.size();
                    continued = true;
                    ::kill(pid, SIGCONT);
                  } else if (continued && beats.size() > silent + 3) {
                    coordinator.send_stop();
                  }
                });
  EXPECT_EQ(result.exit_code, 75) << result.output;
  EXPECT_GT(before, 0U);
  EXPECT_EQ(silent, before);
  EXPECT_EQ(coordinator.connections(), 1) << "a short stop costs no connection";
}

TEST_F(Rank, TheLoopsCrashPointsKillAtTheirStepInTheirAttempt) {
  const ChildResult begin = run_alone({"env", "TALARIA_CRASH_POINT=step.begin:3"}, {});
  EXPECT_EQ(begin.exit_code, 128 + SIGKILL) << begin.output;
  EXPECT_EQ(jobs().loss_bits("run").size(), 2U);
  const ChildResult end =
      run_alone({"env", "TALARIA_CRASH_POINT=step.end:3:0:2"}, {"--attempt", "2"});
  EXPECT_EQ(end.exit_code, 128 + SIGKILL) << end.output;
  EXPECT_EQ(jobs().loss_bits("run").size(), 3U);
  const ChildResult other = run_alone({"env", "TALARIA_CRASH_POINT=step.end:3:0:2"},
                                      {"--attempt", "3", "--set", "train.steps=4"});
  EXPECT_EQ(other.exit_code, 0) << other.output;
  const ChildResult wrong = run_alone({"env", "TALARIA_CRASH_POINT=step.end"}, {});
  EXPECT_EQ(wrong.exit_code, 2) << wrong.output;
  EXPECT_THAT(wrong.output, HasSubstr("NAME:HIT[:RANK[:ATTEMPT]]"));
}

TEST_F(Rank, AKilledRanksPageTellsWhatItDid) {
  const fs::path page = jobs().path() / "page";
  std::ofstream(page) << std::string(4096, '\0');
  const std::string command = fmt::format("exec \"$@\" 9<>'{}'", page.string());
  const ChildResult result = run_alone({"env", "TALARIA_STATUS_FD=9", "sh", "-c", command, "sh"},
                                       {"--crash-point", "manifest.written:2", "--set",
                                        "checkpoint.every=4", "--set", "train.steps=20"});
  EXPECT_EQ(result.exit_code, 128 + SIGKILL) << result.output;
  const std::string bytes = read_file(page);
  wire::RankStatus status;
  std::memcpy(static_cast<void*>(&status), bytes.data(), sizeof status);
  EXPECT_EQ(status.phase, static_cast<std::int32_t>(Phase::kSave));
  EXPECT_EQ(status.step, 8);
  EXPECT_EQ(status.steps, 20);
  EXPECT_EQ(status.checkpoint_step, 4);
}

TEST_F(Rank, AttemptsOnlyGrow) {
  const std::string decay = "optimizer.decay_steps=60";
  const ChildResult first =
      run_alone({}, {"--attempt", "5", "--set", "train.steps=2", "--set", decay});
  ASSERT_EQ(first.exit_code, 0) << first.output;
  const ChildResult older = run_alone({}, {"--attempt", "4", "--set", "train.steps=4"});
  EXPECT_EQ(older.exit_code, 2) << older.output;
  EXPECT_THAT(older.output, HasSubstr("attempt 4 may not begin: attempt 5 has begun"));
  const ChildResult next = run_alone({}, {"--set", "train.steps=4", "--set", decay});
  EXPECT_EQ(next.exit_code, 0) << next.output;
  EXPECT_THAT(events(), HasSubstr("\"attempt 6: 1 ranks, from "));
}

TEST_F(Rank, SharedMemoryCarriesTheAttemptsName) {
  const UniqueFd watch(check_sys(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1", ""));
  check_sys(::inotify_add_watch(watch.get(), "/dev/shm", IN_CREATE), "inotify", "/dev/shm");
  RunPlan plan = two_ranks(2);
  plan.args = {"--attempt-id", kAttemptId};
  ASSERT_EQ(jobs().run("run", plan, kTimeout).exit_code, 0);
  std::set<std::string> ours;
  alignas(inotify_event) char buffer[1 << 16];
  for (ssize_t got = 0; (got = ::read(watch.get(), buffer, sizeof buffer)) > 0;) {
    for (const char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      const std::string name = event->name;
      if (name.starts_with(std::string("talaria-") + kAttemptId + "-")) ours.insert(name);
      at += sizeof(inotify_event) + event->len;
    }
  }
  EXPECT_GE(ours.size(), 2U) << "the world and the tensor group";
  for (const std::string& name : ours) EXPECT_FALSE(fs::exists("/dev/shm/" + name));
}

TEST_F(Rank, AnAttemptIdThatIsNoNameIsRefused) {
  for (const std::string& id : {std::string("../x"), std::string("a/b"), std::string("$(id)"),
                                std::string("a\nb"), std::string(101, 'a'), std::string("A")}) {
    const ChildResult result = run_alone({}, {"--attempt-id", id});
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("attempt id"));
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
}

}  // namespace
}  // namespace talaria::worker
