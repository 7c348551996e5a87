// SPDX-License-Identifier: Apache-2.0
// Random lives: jobs with stages, users who change their minds, launchers and ranks that die,
// coordinators that crash between a transaction and its effect, full disks, clocks that jump.
// Whatever happens, every job ends, no attempt is started twice, no two attempts of a stage live at
// once, nothing is restarted more often than it may be.
#include <algorithm>
#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/simulated_coordinator.h"
#include "tests/support/state_fixtures.h"

namespace talaria::coordinator {
namespace {

using test::history_fault;
using test::sample_job;
using test::sample_stage;
using test::SimulatedCoordinator;
using test::TempFolder;
using test::World;
using test::WorldAttempt;

struct Crash {};  // thrown where the simulated process dies

constexpr int kMaxRestarts = 2;
constexpr int kEventful = 150;  // ticks with crashes, users and strangers; then the world is kind
constexpr int kMaxTicks = 3000;

class Life {
 public:
  explicit Life(unsigned seed) : random_(seed), parallel_(1 + static_cast<int>(seed % 3)) {
    open();
    jobs_ = 1 + static_cast<int>(random_() % 3);
    for (int job = 1; job <= jobs_; ++job) submit(job);
  }

  // "" when all went as it must.
  std::string run() {
    for (tick_ = 0; tick_ < kMaxTicks; ++tick_) {
      try {
        coordinator_->tick();
      } catch (const Crash&) {
        open();
      } catch (const StorageFull&) {
      }
      if (std::string fault = check(); !fault.empty())
        return fmt::format("tick {}: {}", tick_, fault);
      if (!eventful() && store().unended_jobs().empty()) return check_end();
      if (eventful()) user();
      move_world();
    }
    return fmt::format("job {} has not ended", store().unended_jobs().at(0).id);
  }

 private:
  Store& store() { return coordinator_->store(); }
  bool eventful() const { return tick_ < kEventful; }
  bool chance(double probability) {
    return std::uniform_real_distribution<double>(0.0, 1.0)(random_) < probability;
  }

  void open() {
    coordinator_.reset();
    test::Interference interference;
    interference.before_transaction = [this] {
      if (eventful() && chance(0.03)) throw StorageFull("state.db: full");
      if (eventful() && chance(0.02)) throw Crash();
    };
    interference.before_effect = [this] {
      if (eventful() && chance(0.1)) throw Crash();
    };
    interference.launch_fails = [this] { return eventful() && chance(0.2); };
    coordinator_ = std::make_unique<SimulatedCoordinator>(folder_ / "state.db", *world_, parallel_,
                                                          interference);
  }

  void submit(int job) {
    std::vector<StageRow> stages = {sample_stage("a")};
    if (chance(0.5)) stages.push_back(sample_stage("b", {"a"}));
    if (stages.size() == 2 && chance(0.5)) stages.push_back(sample_stage("c", {"a", "b"}));
    for (StageRow& stage : stages) stage.max_restarts = kMaxRestarts;
    store().submit(sample_job(fmt::format("/runs/{}", job), stages), world_->now);
  }

  void user() {
    const std::int64_t id = 1 + static_cast<std::int64_t>(random_() % static_cast<unsigned>(jobs_));
    try {
      if (chance(0.02)) store().wish(id, static_cast<Wish>(1 + random_() % 3), "", world_->now);
      if (chance(0.10)) {
        store().retry(id, world_->now);
        ++retries_;
      }
    } catch (const UsageError&) {
      // The wrong moment for such a wish.
    }
  }

  void move_world() {
    world_->now += chance(0.02) && eventful()
                       ? -100.0
                       : std::uniform_real_distribution<double>(0.1, 4.0)(random_);
    for (auto& job : world_->stages) {
      for (test::WorldStage& stage : job) {
        bool locked = false;
        for (WorldAttempt& attempt : stage.attempts) {
          move_attempt(attempt);
          locked = locked || attempt.launcher;
        }
        stage.foreign = !locked && eventful() && chance(stage.foreign ? 0.8 : 0.01);
      }
    }
  }

  void move_attempt(WorldAttempt& attempt) {
    if (!attempt.launcher) return;
    if (attempt.killed) return World::report(attempt, "failed");
    if (attempt.asked && chance(0.5))
      return World::report(attempt, chance(0.8) ? "stopped" : "failed");
    if (eventful() && chance(0.03)) attempt.launcher = false;  // killed; its ranks live on
    if (!attempt.launcher) return;
    if (chance(0.03)) attempt.checkpoint = true;
    if (chance(0.15)) {
      World::report(attempt, chance(0.6) ? "failed" : chance(0.8) ? "done" : "stopped");
    } else if (chance(0.01)) {
      World::report(attempt, "invalid");
    }
  }

  // What holds at every moment.
  std::string check() {
    if (world_->violation[0] != 0) return world_->violation;
    int slots = 0;
    for (const JobRow& job : store().all_jobs()) {
      for (const StageRow& stage : job.stages) {
        slots += holds_slot(stage.state) ? 1 : 0;
        if (stage.state == StageState::kBackoff && stage.failures > kMaxRestarts) {
          return fmt::format("job {}: {} failures and still tried", job.id, stage.failures);
        }
        for (const WorldAttempt& attempt : world_->stage(stage.key).attempts) {
          if (attempt.starts > 1) return fmt::format("job {}: an attempt started twice", job.id);
        }
      }
    }
    return slots > parallel_ ? fmt::format("{} slots taken of {}", slots, parallel_) : "";
  }

  std::string check_end() {
    for (const JobRow& job : store().all_jobs()) {
      if (std::string fault = history_fault(store(), job); !fault.empty()) return fault;
      for (const StageRow& stage : job.stages) {
        if (std::string fault = check_stage(job, stage); !fault.empty()) return fault;
      }
    }
    return "";
  }

  std::string check_stage(const JobRow& job, const StageRow& stage) {
    int checkpoints = 0;
    for (const WorldAttempt& attempt : world_->stage(stage.key).attempts) {
      if (attempt.ranks) return fmt::format("job {} has ended, ranks of it live", job.id);
      checkpoints += attempt.checkpoint ? 1 : 0;
    }
    const auto attempts = static_cast<int>(store().attempts(stage.key).size());
    // Between two new checkpoints or retries there are so many failures, and one more attempt.
    const int allowed = (checkpoints + retries_ + 1) * (kMaxRestarts + 1);
    if (attempts > allowed) return fmt::format("{} attempts, {} allowed", attempts, allowed);
    const bool known =
        std::all_of(stage.after.begin(), stage.after.end(), [&](const std::string& n) {
          return std::any_of(job.stages.begin(), job.stages.end(), [&](const StageRow& other) {
            return other.name == n && other.state == StageState::kDone;
          });
        });
    return stage.state == StageState::kDone && !known
               ? fmt::format("job {}: {} is done before its turn", job.id, stage.name)
               : "";
  }

  TempFolder folder_;
  std::mt19937 random_;
  int parallel_;
  int jobs_ = 0;
  int tick_ = 0;
  int retries_ = 0;
  std::unique_ptr<World> world_ = std::make_unique<World>();
  std::unique_ptr<SimulatedCoordinator> coordinator_;
};

class RandomLife : public testing::TestWithParam<int> {};

TEST_P(RandomLife, EndsWell) {
  constexpr int kSeeds = 40;
  for (int i = 0; i < kSeeds; ++i) {
    const auto seed = static_cast<unsigned>(GetParam() * kSeeds + i);
    EXPECT_EQ(Life(seed).run(), "") << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomLife, testing::Range(0, 4));

}  // namespace
}  // namespace talaria::coordinator
