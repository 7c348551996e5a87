// SPDX-License-Identifier: Apache-2.0
// kill -9 of one rank of a shm group: the job ends soon, no rank survives it, and nothing of ours
// stays in /dev/shm.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

struct Outcome {
  int status = 0;
  std::string output;
};

Outcome run_command(const std::string& command) {
  Outcome outcome;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) fail_errno("popen", command);
  std::array<char, 4096> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), got);
  }
  outcome.status = ::pclose(pipe);
  return outcome;
}

std::vector<pid_t> pids_in(const std::string& output) {
  std::vector<pid_t> pids;
  std::istringstream lines(output);
  std::string word;
  while (lines >> word) {
    pid_t pid = 0;
    if (word == "pid" && lines >> pid) pids.push_back(pid);
  }
  return pids;
}

bool gone_within(pid_t pid, double seconds) {
  const double end = monotonic_seconds() + seconds;
  while (::kill(pid, 0) == 0) {
    if (monotonic_seconds() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

TEST(KilledRank, LeavesNoProcessAndNoSharedMemory) {
  const std::string name = fmt::format("talaria-crash-test-{}", ::getpid());
  const std::filesystem::path scratch = std::filesystem::temp_directory_path() / name;
  std::filesystem::create_directories(scratch);
  for (const int victim : {0, 2}) {
    // Open MPI keeps files of its own in /dev/shm, and leaves them when a rank is killed.
    const Outcome outcome = run_command(fmt::format(
        "timeout 60 {} --mca btl_vader_backing_directory {} -n 3 --oversubscribe --bind-to none "
        "{}/comm_crash_program /{} {}",
        TALARIA_MPIEXEC, scratch.string(), TALARIA_BIN_DIR, name, victim));
    const std::vector<pid_t> pids = pids_in(outcome.output);
    EXPECT_EQ(pids.size(), 3U) << outcome.output;
    EXPECT_THAT(outcome.output, testing::Not(testing::HasSubstr("finished")));
    EXPECT_THAT(outcome.output, testing::HasSubstr("signal 9"));
    ASSERT_TRUE(WIFEXITED(outcome.status));
    EXPECT_NE(WEXITSTATUS(outcome.status), 0);
    EXPECT_NE(WEXITSTATUS(outcome.status), 124) << "mpirun did not end by itself";
    for (const pid_t pid : pids) EXPECT_TRUE(gone_within(pid, 10)) << pid;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(name)) << entry.path();
    }
  }
  std::filesystem::remove_all(scratch);
}

}  // namespace
}  // namespace talaria::parallel
