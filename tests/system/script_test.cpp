// SPDX-License-Identifier: Apache-2.0
// The mpirun script of `talaria script`, run for real: it trains, saves when it is asked to stop,
// goes on when it is run again, and starts again after a rank was killed; the bits are those of an
// undisturbed run.
#include "launch/script/script.h"

#include <csignal>
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr double kTimeout = 100;
constexpr std::size_t kSteps = 60;

class ScriptRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_script_{}", ::getpid()),
                          kTinyModel);
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }
  static const JobFolder& jobs() { return *jobs_; }

  static std::vector<std::string> overrides() {
    return {"parallel.tensor=2", "job.numerics=invariant", "checkpoint.every=10"};
  }

  // The script of job file `file` with run directory `run`; a path of it.
  static std::string script(const std::string& file, const std::string& run) {
    const std::string job = (jobs().path() / file).string();
    const launch::StagedJob staged = launch::parse_stages(ConfigFile::load(job, overrides()));
    const fs::path path = jobs().path() / (run + ".sh");
    std::ofstream(path) << launch::mpirun_script(
        staged, {.worker = std::string(TALARIA_BIN_DIR) + "/talaria-worker",
                 .job_file = job,
                 .run_directory = (jobs().path() / run).string(),
                 .working_directory = jobs().path().string(),
                 .overrides = overrides()});
    return path.string();
  }

  static ChildResult run(const std::string& path,
                         const std::function<void(pid_t, const std::string&)>& watch = nullptr) {
    return run_child({"bash", path}, kTimeout, watch);
  }

  // The undisturbed run's losses, without a script.
  static std::map<std::int64_t, std::string> expected() {
    RunPlan plan;
    plan.layout = {2, 1, 1};
    plan.invariant = false;
    plan.set = overrides();
    EXPECT_EQ(jobs().run("plain", plan, kTimeout).exit_code, 0);
    return jobs().loss_bits("plain");
  }

 private:
  static JobFolder* jobs_;
};

JobFolder* ScriptRun::jobs_ = nullptr;

TEST_F(ScriptRun, TrainsStopsAndGoesOnWithTheSameBits) {
  const std::string path = script("job.toml", "stopped");
  bool sent = false;
  const ChildResult first = run(path, [&](pid_t pid, const std::string&) {
    if (sent || jobs().loss_bits("stopped").size() < 5) return;
    sent = true;
    ::kill(pid, SIGTERM);
  });
  EXPECT_EQ(first.exit_code, 75) << first.output;
  ASSERT_FALSE(jobs().checkpoints("stopped").empty()) << first.output;
  EXPECT_LT(jobs().loss_bits("stopped").size(), kSteps);
  const ChildResult second = run(path);
  EXPECT_EQ(second.exit_code, 0) << second.output;
  EXPECT_EQ(jobs().loss_bits("stopped"), expected());
  EXPECT_EQ(jobs().weights_hash("stopped"), jobs().weights_hash("plain"));
  const ChildResult third = run(path);
  EXPECT_EQ(third.exit_code, 0) << third.output;
  EXPECT_NE(third.output.find("complete"), std::string::npos) << third.output;
}

TEST_F(ScriptRun, StartsAgainWhenARankWasKilled) {
  const std::string path = script("job.toml", "killed");
  bool killed = false;
  const ChildResult result = run(path, [&](pid_t, const std::string&) {
    if (killed || jobs().checkpoints("killed").empty()) return;
    const std::string holder = read_file(jobs().path() / "killed/lock");  // "pid 17 on host"
    killed = ::kill(std::stoi(holder.substr(4)), SIGKILL) == 0;
  });
  EXPECT_TRUE(killed);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("exit code 137; again in 1 s, restart 1 of 3"), std::string::npos)
      << result.output;
  EXPECT_EQ(jobs().loss_bits("killed").size(), kSteps);
  EXPECT_TRUE(fs::exists(jobs().path() / "killed/attempt-002"));
}

TEST_F(ScriptRun, StagesRunOneAfterTheOther) {
  std::ofstream(jobs().path() / "staged.toml")
      << read_file(jobs().path() / "job.toml")
      << "\n[[stage]]\nname = \"small\"\ntrain = { steps = 4 }\n\n[[stage]]\nname = \"large\"\n"
         "train = { steps = 6 }\nmodel = { hidden = 128 }\n";
  const ChildResult result = run(script("staged.toml", "staged"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(jobs().loss_bits("staged/small").size(), 4U);
  EXPECT_EQ(jobs().loss_bits("staged/large").size(), 6U);
  const ChildResult check = jobs().tool({"--job", (jobs().path() / "staged.toml").string()});
  EXPECT_EQ(check.exit_code, 2);
  EXPECT_NE(check.output.find("`talaria run`"), std::string::npos) << check.output;
}

}  // namespace
}  // namespace talaria::worker
