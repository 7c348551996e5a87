// SPDX-License-Identifier: Apache-2.0
// `talaria run` over the real coordinator and real ranks: to the end, further, and on after the
// coordinator inside it was killed.
#include <csignal>
#include <filesystem>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "tests/support/run_job.h"

namespace talaria {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Run : public testing::Test {
 protected:
  Run()
      : folder_(fs::temp_directory_path() / fmt::format("talaria_run_{}", ::getpid())),
        jobs_(folder_, worker::kTinyModel) {}
  ~Run() override { fs::remove_all(folder_); }

  std::vector<std::string> argv(const std::vector<std::string>& args) const {
    std::vector<std::string> all = {"env",
                                    "-C",
                                    folder_.string(),
                                    "HOME=" + folder_.string(),
                                    "XDG_STATE_HOME=" + (folder_ / "state").string(),
                                    "TALARIA_STATE_DIR=" + (folder_ / "daemon").string(),
                                    std::string(TALARIA_BIN_DIR) + "/talaria"};
    all.insert(all.end(), args.begin(), args.end());
    return all;
  }
  ChildResult talaria(const std::vector<std::string>& args) const {
    return run_child(argv(args), 60.0);
  }
  static std::vector<std::string> steps(int count) {
    return {"run",    "job.toml", "--run-dir",
            "runs/r", "--set",    fmt::format("train.steps={}", count)};
  }
  static int last_step(const std::map<std::int64_t, std::string>& losses) {
    return losses.empty() ? 0 : static_cast<int>(losses.rbegin()->first);
  }

  fs::path folder_;
  worker::JobFolder jobs_;
};

TEST_F(Run, MoreStepsGoOnAndFewerAreRefused) {
  const ChildResult first = talaria(steps(4));
  EXPECT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("done: 4 steps"));
  const ChildResult again = talaria(steps(4));
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(last_step(jobs_.loss_bits("runs/r")), 4);
  // What the file leaves open, like optimizer.decay_steps, the first start has fixed.
  const ChildResult more = talaria(steps(7));
  EXPECT_EQ(more.exit_code, 0) << more.output;
  EXPECT_EQ(last_step(jobs_.loss_bits("runs/r")), 7);
  const ChildResult fewer = talaria(steps(5));
  EXPECT_EQ(fewer.exit_code, 2) << fewer.output;
  EXPECT_THAT(fewer.output, HasSubstr("train.steps: found 5, but the run was started with 7"));
}

TEST_F(Run, ACoordinatorThatWasKilledIsFollowedByAnother) {
  std::vector<std::string> args = steps(100'000);
  args.insert(args.end(), {"--set", "checkpoint.every=5"});
  bool killed = false;
  const ChildResult first = run_child(argv(args), 60.0, [&](pid_t pid, const std::string& output) {
    if (killed || output.find("checkpoint at step") == std::string::npos) return;
    killed = ::kill(pid, SIGKILL) == 0;
  });
  EXPECT_EQ(first.exit_code, 128 + SIGKILL);
  EXPECT_THAT(talaria({"ps"}).output, HasSubstr("unwatched"));
  bool asked = false;
  const ChildResult second = run_child(argv(args), 60.0, [&](pid_t, const std::string& output) {
    if (asked || output.find("checkpoint at step") == std::string::npos) return;
    asked = true;
    EXPECT_THAT(talaria({"show", "runs/r"}).output, HasSubstr("running"));
    EXPECT_EQ(talaria({"cancel", "r"}).exit_code, 0);
  });
  EXPECT_EQ(second.exit_code, 1) << second.output;
  EXPECT_THAT(second.output, HasSubstr("goes on with the run that was left"));
  EXPECT_THAT(second.output, HasSubstr("attempt 1 starts"));
  EXPECT_THAT(second.output, Not(HasSubstr("attempt 2 starts")));
  EXPECT_THAT(talaria({"ps"}).output, HasSubstr("cancelled"));
}

}  // namespace
}  // namespace talaria
