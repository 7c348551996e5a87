// SPDX-License-Identifier: Apache-2.0
// A coordinator whose launchers and ranks are plain data: the real store, the real planner, and a
// world that tells when an attempt was started twice or two attempts of a stage lived at once.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "coordinator/state/plan.h"
#include "coordinator/state/store.h"

namespace talaria::test {

// An attempt as the world has it. `starts`: how often its ranks were started.
struct WorldAttempt {
  int starts = 0;
  int age = 0;  // steps of the world since the start
  bool launcher = false;
  bool ranks = false;
  bool checkpoint = false;  // a new one was committed
  bool asked = false;
  bool killed = false;
  bool reported = false;
  char outcome[16] = "";
};

// One run directory.
struct WorldStage {
  static constexpr int kAttempts = 200;
  std::array<WorldAttempt, kAttempts> attempts;  // [1], [2], ...
  bool foreign = false;                          // somebody else holds the lock
};

// Trivially copyable: it may lie in memory shared with a process that is killed.
struct World {
  static constexpr int kJobs = 8;
  static constexpr int kStages = 3;
  std::array<std::array<WorldStage, kStages>, kJobs> stages;  // by job - 1, stage
  double now = 1000.0;
  char violation[200] = "";  // the first promise that was broken

  WorldStage& stage(const coordinator::StageKey& key);
  WorldAttempt& attempt(const coordinator::StageKey& key, int number);
  // What talaria-launch does: nothing where the lock is held or a report is there; starts the
  // ranks; or, where they were started before, proves them dead and reports a failure.
  void launch(const coordinator::StageKey& key, int number);
  // The attempt's launcher writes the report and exits.
  static void report(WorldAttempt& attempt, const char* outcome);
  void violate(const std::string& what);
};

// Where a test may interfere: by throwing, or by answering.
struct Interference {
  std::function<void()> before_transaction = [] {};
  std::function<void()> before_effect = [] {};
  std::function<bool()> launch_fails = [] { return false; };
};

class SimulatedCoordinator {
 public:
  SimulatedCoordinator(const std::filesystem::path& file, World& world, int parallel_jobs,
                       Interference interference = {});

  // Observes, plans and acts until nothing is left to do, then starts what may start. True when
  // anything was done.
  bool tick();
  coordinator::Store& store() { return store_; }

 private:
  // What this process remembers of a stage's newest attempt.
  struct Memory {
    int attempt = 0;
    int launches = 0;
    double last_launch = 0.0;
    bool asked = false;
    bool killed = false;
  };
  std::map<coordinator::StageKey, coordinator::Observation> observe(
      const std::vector<coordinator::JobRow>& jobs);
  Memory& memory(const coordinator::StageKey& key, int attempt);
  void act(const std::vector<coordinator::JobRow>& jobs, const coordinator::Action& action);
  void start(const coordinator::StageRow& stage);
  void launch(const coordinator::StageKey& key, int attempt);
  void signal(const coordinator::StageRow& stage, const coordinator::Action& action);

  coordinator::Store store_;
  World& world_;
  coordinator::Limits limits_;
  Interference interference_;
  std::map<coordinator::StageKey, Memory> memory_;
};

// What is wrong with a job's transitions, read from the beginning: a step that is not legal, does
// not begin where the one before ended, or does not lead to the state that is recorded; attempts
// that do not grow or overlap. "" when all is well.
std::string history_fault(const coordinator::Store& store, const coordinator::JobRow& job);

}  // namespace talaria::test
