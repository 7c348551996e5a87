// SPDX-License-Identifier: Apache-2.0
// The whole coordinator from outside: it is killed before and after every SQL statement of a job's
// life, loses its disk, meets a second one, serves users that must not see each other, and gives up
// what always fails.
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "tests/support/daemon.h"
#include "tests/support/run_job.h"

namespace talaria::testing_support {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::int64_t lines_in(const fs::path& file) {
  std::ifstream in(file);
  std::int64_t count = 0;
  for (std::string line; std::getline(in, line);) ++count;
  return count;
}

class CoordinatorTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new worker::JobFolder(
        fs::temp_directory_path() / fmt::format("talaria_coordinator_{}", ::getpid()),
        worker::kTinyModel);
    // In place of mpirun: says in the file `ran` that it ran, and is done a moment later.
    std::ofstream(path("mpirun")) << "#!/bin/sh\necho ran >>\"$(dirname \"$0\")/ran\"\nsleep 0.3\n";
    ::chmod(path("mpirun").c_str(), 0755);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  void SetUp() override { fs::remove(path("ran")); }

  static fs::path path(const std::string& name) { return jobs_->path() / name; }
  static std::vector<std::string> fake() { return {"--mpirun", path("mpirun").string()}; }

  // Submits the tiny job with its own run directory; 0 when the daemon did not take it.
  static std::int64_t submit(const Daemon& daemon, const std::string& run,
                             const std::vector<std::string>& set = {}) {
    std::vector<std::string> args = {"submit", path("job.toml").string(), "--run-dir",
                                     path(run).string()};
    for (const std::string& each : set) {
      args.emplace_back("--set");
      args.push_back(each);
    }
    const Captured answer = daemon.ask(args);
    return answer.exit_code == 0 ? std::stoll(answer.out) : 0;
  }
  // The job with this run directory, 0 for none.
  static std::int64_t find_job(const Daemon& daemon, const std::string& run) {
    const Captured answer = daemon.ask({"ps", "--all", "--json"});
    const boost::json::value all = boost::json::parse(answer.out);
    for (const auto& job : all.is_array() ? all.as_array() : all.at("jobs").as_array()) {
      if (job.at("run_directory").as_string() == path(run).string()) {
        return job.at("id").as_int64();
      }
    }
    return 0;
  }

 private:
  static worker::JobFolder* jobs_;
};

worker::JobFolder* CoordinatorTest::jobs_ = nullptr;

// One life of a job under a coordinator that dies at the n-th place; false when that lies behind
// the job's end.
class CoordinatorCrash : public CoordinatorTest {
 protected:
  static bool live_through(Daemon& daemon, std::int64_t place) {
    const std::string run = fmt::format("crash-{}", place);
    fs::remove(path("ran"));
    daemon.start({"--crash-at-statement", std::to_string(place)});
    if (!daemon.dead()) submit(daemon, run);
    const double deadline = monotonic_seconds() + 2.0;
    std::int64_t job = 0;
    while (!daemon.dead() && monotonic_seconds() < deadline) {
      if (job == 0) job = find_job(daemon, run);
      if (job != 0 && daemon.state_of(job) == "done") break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    const bool died = daemon.dead();
    daemon.kill(SIGKILL);

    daemon.start();
    job = find_job(daemon, run);
    // A submission that was never answered may have been lost, and is then made again.
    if (job == 0) job = submit(daemon, run);
    EXPECT_EQ(daemon.wait_for_end(job, 20), "done") << "place " << place << "\n" << daemon.log();
    EXPECT_EQ(lines_in(path("ran")), 1) << "place " << place << "\n" << daemon.log();
    daemon.kill(SIGKILL);
    fs::remove_all(path(run));
    return died;
  }
};

TEST_F(CoordinatorCrash, AtEveryStatementOfAJobsLife) {
  Daemon daemon(path("state-crash"), fake());
  daemon.start();
  daemon.kill(SIGKILL);
  std::int64_t place = 0;
  int calm = 0;  // lives in a row that the crash did not meet
  for (; calm < 3 && place < 1000; ++place) {
    calm = live_through(daemon, place) ? 0 : calm + 1;
    if (HasFailure()) return;
  }
  fmt::print("{} places before and after statements\n", place - calm);
  EXPECT_GT(place, 20) << "the crash was never met";
}

TEST_F(CoordinatorTest, ASecondOneOnTheSameStateIsRefusedNamingTheFirst) {
  Daemon daemon(path("state-two"), fake());
  daemon.start();
  ASSERT_FALSE(daemon.dead()) << daemon.log();
  const Captured second =
      talaria_command({"coordinator", "--state-dir", path("state-two").string()});
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_THAT(second.err, HasSubstr(fmt::format("pid {} on ", daemon.pid())));
}

TEST_F(CoordinatorTest, JobsRunInTheOrderInWhichTheyCame) {
  Daemon daemon(path("state-queue"), fake());
  daemon.start();
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(submit(daemon, fmt::format("queued-{}", i)));
  ASSERT_THAT(ids, testing::Each(testing::Gt(0))) << daemon.log();
  EXPECT_EQ(daemon.state_of(ids[3]), "queued");
  EXPECT_EQ(submit(daemon, "queued-3"), 0) << "one run directory, two jobs";
  double last = 0.0;
  for (const std::int64_t id : ids) {
    ASSERT_EQ(daemon.wait_for_end(id, 20), "done") << daemon.log();
    const double ended =
        daemon.show(id).at("stages").at(0).at("attempts").at(0).at("ended").to_number<double>();
    EXPECT_GT(ended, last);
    last = ended;
  }
  EXPECT_EQ(lines_in(path("ran")), 4);
}

TEST_F(CoordinatorTest, AQueuedJobThatIsCancelledNeverRuns) {
  Daemon daemon(path("state-cancel"), fake());
  daemon.start();
  const std::int64_t first = submit(daemon, "cancel-0");
  const std::int64_t second = submit(daemon, "cancel-1");
  ASSERT_EQ(daemon.ask({"cancel", std::to_string(second)}).exit_code, 0);
  EXPECT_EQ(daemon.wait_for_end(first, 20), "done");
  EXPECT_EQ(daemon.wait_for_end(second, 20), "cancelled");
  EXPECT_EQ(lines_in(path("ran")), 1);
  ASSERT_EQ(daemon.ask({"retry", std::to_string(second)}).exit_code, 0);
  EXPECT_EQ(daemon.wait_for_end(second, 20), "done");
  EXPECT_EQ(lines_in(path("ran")), 2);
}

TEST_F(CoordinatorTest, AJobThatAlwaysFailsAtStep3IsGivenUpAndSaysWhy) {
  // Read by the ranks only: the third step is never reached.
  ::setenv("TALARIA_CRASH_POINT", "step.begin:3:1", 1);
  Daemon daemon(path("state-loop"));
  daemon.start();
  const std::int64_t job =
      submit(daemon, "loop", {"parallel.data=2", "cluster.max_restarts=2", "checkpoint.every=5"});
  ::unsetenv("TALARIA_CRASH_POINT");
  const double start = monotonic_seconds();
  ASSERT_EQ(daemon.wait_for_end(job, 60), "failed") << daemon.log();
  EXPECT_GT(monotonic_seconds() - start, 1.5) << "restarts wait 0.5 and 1 s";
  const boost::json::object view = daemon.show(job);
  EXPECT_EQ(view.at("stages").at(0).at("attempts").as_array().size(), 3U);
  const std::string reason(view.at("stages").at(0).at("reason").as_string());
  EXPECT_THAT(reason, HasSubstr("gave up"));
  EXPECT_THAT(reason, HasSubstr("rank 1"));
  EXPECT_THAT(reason, HasSubstr("SIGKILL"));
  EXPECT_LT(daemon.cpu_seconds(), 2.0) << "no busy loop";
}

// Users are told apart by the kernel: the daemon is root's, the jobs are theirs.
class CoordinatorUsers : public CoordinatorTest {
 protected:
  static Captured as(int uid, std::vector<std::string> args) {
    std::vector<std::string> argv = {"setpriv", fmt::format("--reuid={}", uid),
                                     fmt::format("--regid={}", uid), "--clear-groups",
                                     std::string(TALARIA_BIN_DIR) + "/talaria"};
    argv.insert(argv.end(), args.begin(), args.end());
    return run_captured(argv, 30);
  }
};

TEST_F(CoordinatorUsers, BNeitherSeesNorTouchesWhatIsAs) {
  ASSERT_EQ(::geteuid(), 0U) << "this test becomes two other users and needs root";
  constexpr int kA = 41001;
  constexpr int kB = 41002;
  fs::permissions(path(""), fs::perms::all);
  const fs::path folder = path("of-a");
  fs::create_directories(folder);
  ASSERT_EQ(::chown(folder.c_str(), kA, kA), 0);
  Daemon daemon(path("state-users"), fake());
  daemon.start();
  ASSERT_FALSE(daemon.dead()) << daemon.log();
  const std::vector<std::string> state = {"--state-dir", path("state-users").string()};
  const auto with_state = [&](std::vector<std::string> args) {
    args.insert(args.end(), state.begin(), state.end());
    return args;
  };
  // `ran` must be writable for whoever the job runs as.
  std::ofstream(path("ran")).close();
  fs::permissions(path("ran"), fs::perms::all);
  const Captured submitted =
      as(kA,
         with_state({"submit", path("job.toml").string(), "--run-dir", (folder / "run").string()}));
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  const std::string id = std::to_string(std::stoll(submitted.out));

  EXPECT_THAT(as(kA, with_state({"ps", "--all"})).out, HasSubstr("test"));
  EXPECT_THAT(as(kB, with_state({"ps", "--all"})).out, testing::Not(HasSubstr("test")));
  for (const char* verb : {"show", "cancel", "retry", "logs", "watch"}) {
    const Captured refused = as(kB, with_state({verb, id}));
    EXPECT_NE(refused.exit_code, 0) << verb;
    EXPECT_THAT(refused.out, testing::Not(HasSubstr("of-a"))) << verb;
  }
  EXPECT_EQ(daemon.wait_for_end(std::stoll(id), 20), "done") << daemon.log();
  // What the job left is A's, and nothing in A's folder was made by root.
  struct stat info {};
  ASSERT_EQ(::stat((folder / "run/attempt-001/exit.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, static_cast<uid_t>(kA));
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    ASSERT_EQ(::lstat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, static_cast<uid_t>(kA)) << entry.path();
  }
}

TEST_F(CoordinatorUsers, ALinkInTheRunDirectoryLeadsRootNowhere) {
  ASSERT_EQ(::geteuid(), 0U) << "this test becomes another user and needs root";
  constexpr int kA = 41001;
  fs::permissions(path(""), fs::perms::all);
  const fs::path folder = path("links-of-a");
  fs::create_directories(folder);
  ASSERT_EQ(::chown(folder.c_str(), kA, kA), 0);
  std::ofstream(path("roots-file")) << "untouched\n";
  fs::permissions(path("roots-file"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_directories(folder / "run");
  fs::create_symlink(path("roots-file"), folder / "run/events.jsonl");
  fs::create_directories(folder / "run/attempt-001");
  fs::create_symlink(path("roots-file"), folder / "run/attempt-001/exit.json");
  ASSERT_EQ(run_captured({"chown", "-R", "-h", "41001:41001", folder.string()}, 5).exit_code, 0);
  std::ofstream(path("failing")) << "#!/bin/sh\nexit 1\n";
  ::chmod(path("failing").c_str(), 0755);
  Daemon daemon(path("state-links"), {"--mpirun", path("failing").string()});
  daemon.start();
  const Captured submitted =
      as(kA, {"submit", path("job.toml").string(), "--run-dir", (folder / "run").string(), "--set",
              "cluster.max_restarts=0", "--state-dir", path("state-links").string()});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  EXPECT_EQ(daemon.wait_for_end(std::stoll(submitted.out), 20), "failed") << daemon.log();
  EXPECT_EQ(read_file(path("roots-file")), "untouched\n");
}

}  // namespace
}  // namespace talaria::testing_support
