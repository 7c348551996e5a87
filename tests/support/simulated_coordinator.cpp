// SPDX-License-Identifier: Apache-2.0
#include "tests/support/simulated_coordinator.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace talaria::test {

using coordinator::Action;
using coordinator::AttemptState;
using coordinator::JobRow;
using coordinator::Observation;
using coordinator::StageKey;
using coordinator::StageRow;
using coordinator::StageState;
using coordinator::Store;
using coordinator::TransitionRow;

namespace {

void copy_word(char* to, std::size_t size, const std::string& word) {
  std::strncpy(to, word.c_str(), size - 1);
}

const StageRow& find(const std::vector<JobRow>& jobs, const StageKey& key) {
  for (const JobRow& job : jobs) {
    if (job.id == key.job) return job.stages.at(static_cast<std::size_t>(key.stage));
  }
  fail("no job {}", key.job);
}

}  // namespace

WorldStage& World::stage(const StageKey& key) {
  return stages.at(static_cast<std::size_t>(key.job - 1)).at(static_cast<std::size_t>(key.stage));
}

WorldAttempt& World::attempt(const StageKey& key, int number) {
  return stage(key).attempts.at(static_cast<std::size_t>(number));
}

void World::violate(const std::string& what) {
  if (violation[0] == 0) copy_word(violation, sizeof violation, what);
}

void World::report(WorldAttempt& attempt, const char* outcome) {
  attempt.launcher = false;
  attempt.ranks = false;
  attempt.reported = true;
  copy_word(attempt.outcome, sizeof attempt.outcome, outcome);
}

void World::launch(const StageKey& key, int number) {
  WorldAttempt& mine = attempt(key, number);
  if (stage(key).foreign || mine.reported) return;
  for (const WorldAttempt& other : stage(key).attempts) {
    if (other.launcher) return;
    if (other.ranks && &other != &mine) {
      violate(
          fmt::format("attempt {} of {}.{} while another has ranks", number, key.job, key.stage));
    }
  }
  if (mine.starts > 0) {
    report(mine, "failed");
    return;
  }
  ++mine.starts;
  mine.ranks = true;
  mine.launcher = true;
}

SimulatedCoordinator::SimulatedCoordinator(const std::filesystem::path& file, World& world,
                                           int parallel_jobs, Interference interference)
    : store_(file), world_(world), limits_{parallel_jobs}, interference_(std::move(interference)) {}

SimulatedCoordinator::Memory& SimulatedCoordinator::memory(const StageKey& key, int attempt) {
  Memory& remembered = memory_[key];
  if (remembered.attempt != attempt) remembered = Memory{attempt, 0, 0.0, false, false};
  return remembered;
}

std::map<StageKey, Observation> SimulatedCoordinator::observe(const std::vector<JobRow>& jobs) {
  std::map<StageKey, Observation> all;
  for (const JobRow& job : jobs) {
    for (const StageRow& stage : job.stages) {
      if (!stage.attempt || stage.attempt->state == AttemptState::kEnded) continue;
      const WorldAttempt& attempt = world_.attempt(stage.key, stage.attempt->attempt);
      const Memory& remembered = memory(stage.key, stage.attempt->attempt);
      Observation& seen = all[stage.key];
      if (attempt.launcher) {
        seen.launcher = Observation::Launcher::kAlive;
      } else if (world_.stage(stage.key).foreign) {
        seen.launcher = Observation::Launcher::kForeign;
        seen.holder = "pid 17 on node1";
      }
      seen.started = attempt.starts > 0;
      seen.reported = attempt.reported;
      seen.outcome = attempt.outcome;
      seen.reason = seen.outcome;
      seen.new_checkpoint = attempt.checkpoint;
      seen.launches = remembered.launches;
      seen.last_launch = remembered.last_launch;
      seen.asked = remembered.asked;
      seen.killed = remembered.killed;
    }
  }
  return all;
}

bool SimulatedCoordinator::tick() {
  bool acted = false;
  const auto act_on = [&](const std::vector<JobRow>& jobs, const std::vector<Action>& actions) {
    for (const Action& action : actions) act(jobs, action);
    acted = acted || !actions.empty();
    return !actions.empty();
  };
  while (true) {
    const std::vector<JobRow> jobs = store_.unended_jobs();
    if (act_on(jobs, reconcile(jobs, observe(jobs), world_.now))) continue;
    act_on(jobs, schedule(jobs, limits_, {}, world_.now));
    return acted;
  }
}

void SimulatedCoordinator::act(const std::vector<JobRow>& jobs, const Action& action) {
  using K = Action::Kind;
  const StageRow& stage = find(jobs, action.stage);
  const int attempt = stage.attempt ? stage.attempt->attempt : 0;
  interference_.before_transaction();
  switch (action.kind) {
    case K::kMove:
      store_.move(stage.key, action.to, action.reason, world_.now);
      break;
    case K::kStart:
      start(stage);
      break;
    case K::kLaunch:
      launch(stage.key, attempt);
      break;
    case K::kRunning:
      store_.attempt_running(stage.key, attempt, world_.now);
      break;
    case K::kEnd:
      store_.end_attempt(stage.key, attempt, action.end, world_.now);
      break;
    case K::kAskStop:
    case K::kKill:
      signal(stage, action);
      break;
  }
}

void SimulatedCoordinator::start(const StageRow& stage) {
  const int number = stage.attempt ? stage.attempt->attempt + 1 : 1;
  const auto planned = store_.plan_attempt(
      stage.key, 1, fmt::format("j{}-s{}-a{:03}", stage.key.job, stage.key.stage, number), "secret",
      world_.now);
  interference_.before_effect();
  launch(stage.key, planned.attempt);
}

void SimulatedCoordinator::launch(const StageKey& key, int attempt) {
  Memory& remembered = memory(key, attempt);
  ++remembered.launches;
  remembered.last_launch = world_.now;
  if (!interference_.launch_fails()) world_.launch(key, attempt);
}

void SimulatedCoordinator::signal(const StageRow& stage, const Action& action) {
  if (stage.state == StageState::kRunning) {
    store_.move(stage.key, StageState::kStopping, action.reason, world_.now);
  }
  interference_.before_effect();
  const int number = stage.attempt.value().attempt;
  if (action.kind == Action::Kind::kKill) {
    world_.attempt(stage.key, number).killed = true;
    memory(stage.key, number).killed = true;
  } else {
    world_.attempt(stage.key, number).asked = true;
    memory(stage.key, number).asked = true;
  }
}

// --- histories

namespace {

bool legal_words(const TransitionRow& row) {
  if (row.stage < 0) return true;  // a wish: any, after a retry
  if (row.attempt == 0) {
    if (row.from.empty()) return row.to == "queued" || row.to == "pending";
    return legal(coordinator::parse_stage_state(row.from), coordinator::parse_stage_state(row.to));
  }
  if (row.from.empty()) return row.to == "planned";
  return legal(coordinator::parse_attempt_state(row.from),
               coordinator::parse_attempt_state(row.to));
}

std::string attempts_fault(const Store& store, const StageRow& stage) {
  int last = 0;
  const auto attempts = store.attempts(stage.key);
  for (const auto& attempt : attempts) {
    if (attempt.attempt <= last) return fmt::format("attempt {} after {}", attempt.attempt, last);
    last = attempt.attempt;
    if (attempt.state != AttemptState::kEnded && &attempt != &attempts.back()) {
      return fmt::format("attempt {} is {}, and there is a newer one", attempt.attempt,
                         name(attempt.state));
    }
  }
  const bool live = !attempts.empty() && attempts.back().state != AttemptState::kEnded;
  const bool busy = stage.state == StageState::kRunning || stage.state == StageState::kStopping;
  if (live != busy)
    return fmt::format("{} with attempt {} live: {}", name(stage.state), last, live);
  return "";
}

}  // namespace

std::string history_fault(const Store& store, const JobRow& job) {
  std::map<std::pair<int, int>, std::string> now;  // by stage, attempt
  for (const TransitionRow& row : store.transitions(job.id)) {
    std::string& state = now[{row.stage, row.attempt}];
    const std::string what = fmt::format("job {} stage {} attempt {}: {} -> {}", job.id, row.stage,
                                         row.attempt, row.from, row.to);
    if (row.from != state) return fmt::format("{}, but it was {}", what, state);
    if (!legal_words(row)) return fmt::format("{} is not legal", what);
    state = row.to;
  }
  if (now[{-1, 0}] != name(job.wish)) return fmt::format("job {}: wish {}", job.id, name(job.wish));
  for (const StageRow& stage : job.stages) {
    const std::string key = fmt::format("job {} stage {}: ", job.id, stage.key.stage);
    if (now[{stage.key.stage, 0}] != name(stage.state)) {
      return fmt::format("{}{}, its rows say {}", key, name(stage.state),
                         now[{stage.key.stage, 0}]);
    }
    for (const auto& attempt : store.attempts(stage.key)) {
      if (now[{stage.key.stage, attempt.attempt}] != name(attempt.state)) {
        return fmt::format("{}attempt {} is {}", key, attempt.attempt, name(attempt.state));
      }
    }
    if (std::string fault = attempts_fault(store, stage); !fault.empty()) return key + fault;
  }
  return "";
}

}  // namespace talaria::test
