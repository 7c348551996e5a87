// SPDX-License-Identifier: Apache-2.0
// `talaria doctor` on machines that really lack something: other PATHs, small /dev/shm, low limits,
// workers that cannot start. Where its remedy is a command, the command mends it.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "cluster/base/subprocess.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

const std::string kBin = TALARIA_BIN_DIR;
const std::string kWorker = kBin + "/talaria-worker";
constexpr double kTimeout = 60;

class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("talaria_doctor_{}", ::getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs a line of shell in the folder, in which $doctor is the command with this worker.
  Captured shell(const std::string& line, const std::string& worker = kWorker,
                 const std::string& mpirun = "mpirun") const {
    return run_captured({"env", "XDG_STATE_HOME=" + (folder_ / "state").string(), "sh", "-c",
                         fmt::format("cd '{}' && doctor=\"$1\" && {}", folder_.string(), line),
                         "sh", fmt::format("{}/doctor_program {} {}", kBin, worker, mpirun)},
                        kTimeout);
  }

  std::string script(const std::string& name, const std::string& text) const {
    const fs::path path = folder_ / name;
    std::ofstream(path) << "#!/bin/sh\n" << text;
    fs::permissions(path, fs::perms::owner_all);
    return path.string();
  }

  static std::string last_line(const std::string& text) {
    const std::size_t end = text.find_last_not_of('\n');
    return text.substr(0, end + 1).substr(text.find_last_of('\n', end) + 1);
  }

  // The command ends with 1, and its last line names `item` and `remedy`.
  static void expect_stopped(const Captured& run, const std::string& item,
                             const std::string& remedy) {
    EXPECT_EQ(run.exit_code, 1) << run.out << run.err;
    EXPECT_THAT(last_line(run.out), HasSubstr("the quickstart cannot run: "));
    EXPECT_THAT(last_line(run.out), HasSubstr(item));
    EXPECT_THAT(last_line(run.out), HasSubstr(remedy));
  }

  fs::path folder_;
};

TEST_F(Doctor, ThisMachineCanRunTheQuickstart) {
  const Captured run = shell("$doctor --json");
  ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
  const json::value report = json::parse(run.out);
  EXPECT_TRUE(report.at("quickstart").as_bool());
  int met = 0;
  for (const json::value& finding : report.at("findings").as_array()) {
    if (finding.at("item").as_string() != "ranks") continue;
    ++met;
    EXPECT_EQ(finding.at("level").as_string(), "ok") << json::serialize(finding);
  }
  EXPECT_EQ(met, 1);
  EXPECT_TRUE(fs::is_empty(folder_)) << "the measurement of the disk left a file";
}

TEST_F(Doctor, WithoutMpirunOnThePath) {
  const Captured run = shell("PATH=/nonexistent $doctor");
  expect_stopped(run, "mpirun", "apt-get install openmpi-bin");
  EXPECT_THAT(run.out, HasSubstr("not tried: there is no mpirun"));
}

TEST_F(Doctor, AnotherMpirunIsNotOpenMpis) {
  const std::string mpirun = script("mpirun", "echo HYDRA build details 4.0\n");
  expect_stopped(shell("$doctor", kWorker, mpirun), "mpirun", "openmpi-bin");
}

// A private /dev/shm of 8 MiB, as a container may have; then the remedy.
TEST_F(Doctor, ATinyShmIsNamedAndTheRemedyMendsIt) {
  const std::string unshare = ::geteuid() == 0 ? "unshare -m" : "unshare -rm";
  const Captured run = shell(unshare + R"( sh -c '
    mount -t tmpfs -o size=8m tmpfs /dev/shm || exit 7
    $1 && exit 8
    mount -o remount,size=1g /dev/shm || exit 9
    $1 >/dev/null' sh "$doctor")");
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_THAT(last_line(run.out), HasSubstr("shared memory (mount -o remount,size=1g /dev/shm"));
}

TEST_F(Doctor, ALowLimitOfOpenFilesIsNamedAndTheRemedyMendsIt) {
  const Captured run = shell("ulimit -Sn 48; $doctor; echo $?; ulimit -n 1024; $doctor >/dev/null");
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_EQ(last_line(run.out), "1");
  EXPECT_THAT(run.out, HasSubstr("the quickstart cannot run: open files (ulimit -n "));
}

TEST_F(Doctor, LibrariesThatTheWorkerLacksAreNamedWithTheirPackages) {
  expect_stopped(shell("$doctor", kBin + "/doctor_broken_worker"), "worker",
                 "apt-get install libopenmpi3");
}

TEST_F(Doctor, AWorkerThatCannotStart) {
  expect_stopped(shell("$doctor", "/no/such/worker"), "worker", "scripts/build");
  expect_stopped(shell("$doctor", "/bin/true"), "worker", "scripts/build");
  const Captured crashed = shell("$doctor", script("worker", "kill -ILL $$\n"));
  expect_stopped(crashed, "worker", "scripts/build");
  EXPECT_THAT(crashed.out, HasSubstr("signal 4"));
}

// An mpirun that never ends is given up after 10 s, and none of its processes stays.
TEST_F(Doctor, AnMpirunThatHangsIsGivenUp) {
  const fs::path pid_file = folder_ / "pid";
  const std::string mpirun =
      script("mpirun",
             fmt::format("[ \"$1\" = --version ] && {{ echo 'mpirun (Open MPI) 4.1.4'; exit; }}\n"
                         "echo $$ >'{}'\nexec sleep 1000\n",
                         pid_file.string()));
  const double begin = monotonic_seconds();
  const Captured run = shell("$doctor", kWorker, mpirun);
  EXPECT_LT(monotonic_seconds() - begin, 30);
  expect_stopped(run, "ranks", "mpirun -n 2");
  const pid_t pid = std::stoi(read_file(pid_file));
  EXPECT_NE(::kill(pid, 0), 0) << pid << " is still there";
}

TEST_F(Doctor, NoPlaceForRecordsOrFiles) {
  expect_stopped(shell("XDG_STATE_HOME=/proc/none $doctor"), "records", "XDG_STATE_HOME");
  expect_stopped(shell("cd /proc; $doctor"), "disk", "go to a folder");
}

TEST_F(Doctor, WrongUsage) {
  EXPECT_EQ(shell("$doctor --jsom").exit_code, 2);
  EXPECT_EQ(shell("$doctor '$(id)'").exit_code, 2);
  EXPECT_EQ(shell("$doctor --help").exit_code, 0);
}

}  // namespace
}  // namespace talaria
