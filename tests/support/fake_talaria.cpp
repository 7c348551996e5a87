// SPDX-License-Identifier: Apache-2.0
// The program `talaria` over a coordinator that only pretends: jobs advance by the clock. A job
// called "fails" dies at step 20 of each attempt and is given up after two restarts; every other
// runs its 60 steps, 40 a second; one called "slow" never comes to an end.
#include <cstdlib>
#include <filesystem>

#include <boost/asio/steady_timer.hpp>

#include "cluster/base/clock.h"
#include "cluster/base/config.h"
#include "cluster/base/file.h"
#include "coordinator/command/app.h"
#include "launch/attempt/attempt.h"
#include "tests/support/fake_service.h"

namespace talaria::coordinator {
namespace {

constexpr double kTick = 0.025;
constexpr int kSteps = 60;

class ClockedService : public FakeService {
 public:
  explicit ClockedService(boost::asio::io_context& io) : timer_(io) { tick(); }

  std::int64_t submit(const SubmitRequest& request, const User& user) override {
    const std::int64_t id = FakeService::submit(request, user);
    JobView& view = at(id);
    ConfigFile file = ConfigFile::parse(request.job_toml, request.file_name);
    view.job.name = file.root().table_or_empty("job").string("name").value_or("");
    ++jobs_;
    return id;
  }

 private:
  void tick() {
    for (std::int64_t id = 1; id <= jobs_; ++id) advance(id, wall_seconds());
    timer_.expires_after(std::chrono::microseconds(static_cast<int>(kTick * 1e6)));
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) tick();
    });
  }

  void advance(std::int64_t id, double now) {
    JobView& view = at(id);
    StageRow& row = view.stages[0].row;
    if (row.state == StageState::kQueued && now - row.since > 0.1) start(id, now);
    if (row.state == StageState::kBackoff && now >= row.not_before) start(id, now);
    if (row.state == StageState::kRunning) run(id, now);
    // Long enough for a second signal, also on a busy machine.
    const bool at_once = view.job.wish == Wish::kKill;
    if (row.state == StageState::kStopping && (at_once || now - row.since > 1.5)) {
      move(id, view.job.wish == Wish::kStop ? StageState::kStopped : StageState::kCancelled,
           "stopped by request", now);
    }
  }

  void start(std::int64_t id, double now) {
    begin_attempt(id, now);
    StageView& stage = at(id).stages[0];
    stage.ranks.clear();
    for (int rank = 0; rank < stage.row.ranks; ++rank) {
      stage.ranks.push_back({rank, "node1", 1000 + rank, true, 0.1, "step", 0.0, "", 0, 1 << 28});
    }
    stage.progress.steps = at(id).job.name == "slow" ? 100000 : kSteps;
    stage.progress.ranks_connected = stage.row.ranks;
    std::filesystem::create_directories(
        launch::attempt_folder(stage.row.run_directory, stage.row.attempt->attempt));
  }

  void run(std::int64_t id, double now) {
    JobView& view = at(id);
    StageView& stage = view.stages[0];
    if (view.job.wish == Wish::kKill) return move(id, StageState::kCancelled, "killed", now);
    if (view.job.wish != Wish::kRun) return move(id, StageState::kStopping, "asked to", now);
    ProgressView& p = stage.progress;
    ++p.step;
    p.loss = 11.0 - static_cast<double>(p.step) / 20.0;
    p.tokens_per_second = 12345.0;
    p.mfu = 0.412;
    p.seconds_left = static_cast<double>(p.steps - p.step) * kTick;
    for (RankView& rank : stage.ranks) rank.step = p.step;
    if (p.step % 10 == 0) p.checkpoint_step = p.step;
    if (p.step % 20 == 0) p.validation_loss = p.loss + 0.1;
    append_line(launch::attempt_folder(stage.row.run_directory, stage.row.attempt->attempt) /
                    launch::rank_file(0, ".log"),
                fmt::format("2026-11-24T14:40:{:02}.000Z step {}", p.step % 60, p.step));
    if (view.job.name == "fails" && p.step % 20 == 0) return fail_attempt(id, now);
    if (p.step >= p.steps) move(id, StageState::kDone, "", now);
  }

  void fail_attempt(std::int64_t id, double now) {
    StageView& stage = at(id).stages[0];
    const std::string reason =
        "rank 3 on node1 was killed by signal 9 (SIGKILL) in step 20 \x1b[31m";
    stage.progress.step = 0;
    stage.progress.ranks_connected = 0;
    launch::ExitReport report;
    report.attempt = stage.row.attempt->attempt;
    report.reason = reason;
    report.first = launch::RankExit{};
    report.first->rank = 3;
    report.last_lines = {"the last line\x1b[2J of rank 3"};
    write_file_atomic(launch::attempt_folder(stage.row.run_directory, report.attempt) / "exit.json",
                      launch::to_json(report));
    ++stage.row.failures;
    if (stage.row.failures > 2) return move(id, StageState::kFailed, reason, now);
    ++stage.row.restarts;
    stage.row.not_before = now + 0.5;
    move(id, StageState::kBackoff, reason, now);
  }

  boost::asio::steady_timer timer_;
  std::int64_t jobs_ = 0;
};

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Context make_context() {
  Context context;
  context.environment.home = variable("HOME");
  context.environment.state_home = variable("XDG_STATE_HOME");
  context.environment.state_directory = variable("TALARIA_STATE_DIR");
  context.environment.no_color = !variable("NO_COLOR").empty();
  context.parts.make_service = [](boost::asio::io_context& io, const Options&) {
    return std::make_unique<ClockedService>(io);
  };
  // Judges every job as good.
  context.tools.worker = "true";
  return context;
}

}  // namespace
}  // namespace talaria::coordinator

int main(int argc, char** argv) {
  return talaria::coordinator::command_main(argc, argv, talaria::coordinator::make_context());
}
