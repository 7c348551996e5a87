// SPDX-License-Identifier: Apache-2.0
// The whole path once: a real job under the launcher, Open MPI and the shims. A rank is killed, the
// next attempt is stopped, the third finishes with the bits of an undisturbed run.
#include <csignal>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/config.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/command_line.h"
#include "launch/attempt/proc.h"
#include "tests/support/run_job.h"

namespace talaria::launch {
namespace {

namespace fs = std::filesystem;

const std::string kBin = TALARIA_BIN_DIR;
constexpr int kRanks = 4;

class AttemptRun : public testing::Test {
 protected:
  AttemptRun()
      : jobs_(fs::temp_directory_path() / fmt::format("talaria_attempt_run_{}", ::getpid()),
              worker::kTinyModel) {}
  ~AttemptRun() override { fs::remove_all(jobs_.path()); }

  std::string run_directory(const std::string& run) const { return (jobs_.path() / run).string(); }

  AttemptSpec spec(const std::string& run, int attempt) const {
    const Job job = parse_job(
        ConfigFile::load((jobs_.path() / "job.toml").string(),
                         {"parallel.tensor=2", "parallel.data=2", "train.micro_batch=1",
                          "checkpoint.every=5", "train.steps=30", "job.numerics=invariant",
                          "job.virtual_shards=2", "job.sample_groups=2"}));
    AttemptSpec spec;
    spec.attempt_id = fmt::format("test-{}-{}-{}", ::getpid(), run, attempt);
    spec.attempt = attempt;
    spec.ranks = job.cluster.ranks;
    spec.run_directory = run_directory(run);
    spec.working_directory = jobs_.path().string();
    spec.job_toml = job.effective_toml;
    spec.secret = "00";
    const CommandLine command = mpirun_command(
        job, {"mpirun", kBin + "/talaria-worker", kBin + "/talaria-launch"}, spec.run_directory,
        attempt, spec.attempt_id, attempt_scratch(spec.attempt_id));
    spec.argv = command.argv;
    spec.environment = command.environment;
    return spec;
  }

  // Runs an attempt to its end; `watch` is called every few milliseconds.
  ExitReport run(const AttemptSpec& spec, const std::function<void()>& watch) const {
    const fs::path input = jobs_.path() / "spec.json";
    std::ofstream(input) << to_json(spec);
    const ChildResult result =
        run_child({"sh", "-c", fmt::format("exec {}/talaria-launch < {}", kBin, input.string())},
                  90, [&watch](pid_t, const std::string&) { watch(); });
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const auto report = read_exit(spec.run_directory, spec.attempt);
    if (!report) fail("no exit.json: {}", result.output);
    EXPECT_TRUE(report->survivors.empty());
    EXPECT_TRUE(find_attempt_processes(spec.attempt_id).empty());
    for (const auto& entry : fs::directory_iterator("/dev/shm")) {
      EXPECT_EQ(entry.path().string().find(spec.attempt_id), std::string::npos) << entry.path();
    }
    return *report;
  }

  std::int64_t steps(const std::string& run) const {
    const auto done = jobs_.loss_bits(run);
    return done.empty() ? 0 : done.rbegin()->first;
  }

  static pid_t worker(const std::string& attempt_id, int rank) {
    for (const FoundProcess& process : find_attempt_processes(attempt_id)) {
      const std::string folder = fmt::format("/proc/{}/", process.pid);
      const std::string environment = read_proc_file(folder + "environ");
      if (read_proc_file(folder + "comm") == "talaria-worker\n" &&
          environment.find(fmt::format("OMPI_COMM_WORLD_RANK={}", rank) + '\0') !=
              std::string::npos) {
        return process.pid;
      }
    }
    return 0;
  }

  worker::JobFolder jobs_;
};

TEST_F(AttemptRun, KilledStoppedAndContinuedToTheSameBits) {
  const ExitReport undisturbed = run(spec("undisturbed", 1), [] {});
  ASSERT_EQ(undisturbed.outcome, Outcome::kDone) << undisturbed.reason;
  EXPECT_EQ(undisturbed.ranks.size(), static_cast<std::size_t>(kRanks));

  double killed = 0.0;
  const AttemptSpec first = spec("run", 1);
  const ExitReport failed = run(first, [&] {
    if (killed > 0.0 || steps("run") < 7) return;
    killed = wall_seconds();
    ::kill(worker(first.attempt_id, 3), SIGKILL);
  });
  EXPECT_EQ(failed.outcome, Outcome::kFailed);
  EXPECT_LT(failed.ended - killed, 1.5);
  fmt::print("kill -9 to exit.json: {:.0f} ms\n", (failed.ended - killed) * 1000);
  ASSERT_TRUE(failed.first.has_value()) << failed.reason;
  EXPECT_EQ(failed.first->rank, 3);
  EXPECT_EQ(failed.first->signal, SIGKILL);
  EXPECT_THAT(failed.first->phase, testing::AnyOf("step", "save", "evaluate"));
  EXPECT_GE(failed.first->step, 6);
  EXPECT_THAT(failed.reason, testing::MatchesRegex("rank 3 on .* was killed by signal 9 "
                                                   "\\(SIGKILL\\) in .*step [0-9]+"));

  const AttemptSpec second = spec("run", 2);
  bool asked = false;
  const ExitReport stopped = run(second, [&] {
    if (!asked && steps("run") >= 12)
      asked = signal_launcher(second.run_directory, second.attempt_id, SIGTERM);
  });
  EXPECT_EQ(stopped.outcome, Outcome::kStopped) << stopped.reason;
  EXPECT_LT(steps("run"), 30);

  const ExitReport done = run(spec("run", 3), [] {});
  EXPECT_EQ(done.outcome, Outcome::kDone) << done.reason;
  EXPECT_EQ(jobs_.loss_bits("run"), jobs_.loss_bits("undisturbed"));
  EXPECT_EQ(jobs_.weights_hash("run"), jobs_.weights_hash("undisturbed"));
}

TEST_F(AttemptRun, AnInvalidJobAndAFailingRankSayWhy) {
  AttemptSpec invalid = spec("invalid", 1);
  invalid.job_toml += "\n[nonsense]\nx = 1\n";
  const ExitReport refused = run(invalid, [] {});
  EXPECT_EQ(refused.outcome, Outcome::kInvalid) << refused.reason;
  EXPECT_THAT(refused.reason, testing::HasSubstr("nonsense"));

  const AttemptSpec broken = spec("broken", 1);
  fs::create_directories(broken.run_directory);
  std::ofstream(broken.run_directory + "/checkpoints") << "in the way";
  const ExitReport failed = run(broken, [] {});
  EXPECT_NE(failed.outcome, Outcome::kDone);
  EXPECT_THAT(failed.reason, testing::HasSubstr("checkpoints"));
}

}  // namespace
}  // namespace talaria::launch
