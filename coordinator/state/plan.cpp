// SPDX-License-Identifier: Apache-2.0
#include "coordinator/state/plan.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace talaria::coordinator {
namespace {

constexpr double kLongestBackoff = 60.0;
constexpr int kMaxLaunches = 5;

// Whether `seconds` have passed since `begin`. A clock that was set back must not make a job wait
// for the difference.
bool passed(double begin, double seconds, double now) {
  return now >= begin + seconds || now < begin;
}

bool has_live_attempt(const StageRow& stage) {
  return stage.attempt && stage.attempt->state != AttemptState::kEnded;
}

Action move_to(const StageRow& stage, StageState to, std::string reason) {
  Action action;
  action.kind = Action::Kind::kMove;
  action.stage = stage.key;
  action.to = to;
  action.reason = std::move(reason);
  return action;
}

Action effect(Action::Kind kind, const StageRow& stage, std::string reason = "") {
  Action action;
  action.kind = kind;
  action.stage = stage.key;
  action.reason = std::move(reason);
  return action;
}

// Where a stage ends that is not to run on.
StageState unwanted_end(Wish wish) {
  return wish == Wish::kStop ? StageState::kStopped : StageState::kCancelled;
}

const char* unwanted_reason(Wish wish) {
  switch (wish) {
    case Wish::kStop:
      return "stopped by request";
    case Wish::kCancel:
      return "cancelled by request";
    default:
      return "killed by request";
  }
}

// --- stages that have no attempt

// What a pending stage makes of the stages that it waits for.
std::vector<Action> after_others(const JobRow& job, const StageRow& stage) {
  const StageRow* spoiled = nullptr;
  bool all_done = true;
  const auto rank = [](StageState state) {
    return state == StageState::kFailed ? 0 : state == StageState::kCancelled ? 1 : 2;
  };
  for (const StageRow& other : job.stages) {
    if (std::find(stage.after.begin(), stage.after.end(), other.name) == stage.after.end())
      continue;
    if (other.state == StageState::kDone) continue;
    all_done = false;
    if (ended(other.state) && (spoiled == nullptr || rank(other.state) < rank(spoiled->state))) {
      spoiled = &other;
    }
  }
  if (spoiled != nullptr) {
    const StageState to =
        spoiled->state == StageState::kStopped ? StageState::kStopped : StageState::kCancelled;
    const char* verb = spoiled->state == StageState::kFailed ? "" : "was ";
    return {move_to(stage, to,
                    fmt::format("stage {}, which this one needs, {}{}", spoiled->name, verb,
                                name(spoiled->state)))};
  }
  if (!all_done) return {};
  return {move_to(stage, StageState::kQueued, "the stages before it are done")};
}

// --- stages whose attempt has not ended

Action end_with(const StageRow& stage, AttemptEnd end) {
  Action action;
  action.kind = Action::Kind::kEnd;
  action.stage = stage.key;
  action.reason = end.reason;
  action.end = std::move(end);
  return action;
}

// A stage that is stopping goes to no other attempt, whatever the wish says.
Wish wish_of(const JobRow& job, const StageRow& stage) {
  return stage.state == StageState::kStopping ? std::max(job.wish, Wish::kStop) : job.wish;
}

// The end of a failed attempt: another try, or the last one.
AttemptEnd failed_end(const JobRow& job, const StageRow& stage, const Observation& seen,
                      std::string reason, double now) {
  AttemptEnd end;
  end.outcome = "failed";
  end.exit_code = seen.outcome == "failed" ? seen.exit_code : kExitFailed;
  end.failures = seen.new_checkpoint ? 1 : stage.failures + 1;
  const Wish wish = wish_of(job, stage);
  if (wish != Wish::kRun) {
    end.next = unwanted_end(wish);
    end.reason = fmt::format("{}; the attempt failed meanwhile: {}", unwanted_reason(wish), reason);
  } else if (end.failures <= stage.max_restarts) {
    end.next = StageState::kBackoff;
    end.not_before = now + backoff_seconds(end.failures);
    end.reason = std::move(reason);
  } else if (stage.max_restarts <= 0) {
    end.next = StageState::kFailed;
    end.reason = fmt::format("{} (no restart: cluster.max_restarts is 0)", reason);
  } else {
    end.next = StageState::kFailed;
    end.reason = fmt::format("gave up after {} failures in a row without a new checkpoint: {}",
                             end.failures, reason);
  }
  return end;
}

AttemptEnd reported_end(const JobRow& job, const StageRow& stage, const Observation& seen,
                        double now) {
  const Wish wish = wish_of(job, stage);
  AttemptEnd end;
  end.outcome = seen.outcome;
  end.exit_code = seen.exit_code;
  end.reason = seen.reason;
  end.failures = seen.new_checkpoint ? 0 : stage.failures;
  if (seen.outcome == "done") {
    end.next = StageState::kDone;
    end.failures = 0;
    // A worker that finds all steps done saves nothing.
    if (!seen.new_checkpoint && end.reason.empty()) end.reason = "done already";
    return end;
  }
  // The coordinator ended it, so the ranks' own account tells only how they died.
  if (!seen.complaint.empty()) return failed_end(job, stage, seen, seen.complaint, now);
  if (seen.outcome == "stopped") {
    end.next = wish == Wish::kRun ? StageState::kStopped : unwanted_end(wish);
    end.reason = wish == Wish::kRun ? "stopped by a signal from outside" : unwanted_reason(wish);
    if (!seen.reason.empty()) end.reason += ": " + seen.reason;
    return end;
  }
  if (seen.outcome == "invalid") {
    end.next = StageState::kFailed;
    return end;
  }
  return failed_end(job, stage, seen, seen.reason, now);
}

// No launcher, or another attempt's, and no report: one is started, again and again with growing
// waits. A foreign launcher is most often that of the attempt before, about to exit; ours waits for
// it a second. An attempt that may have processes is never given up, whatever the user wishes: only
// a launcher can prove them dead. (What hinders it passes: a full disk, say.)
std::vector<Action> launch_or_give_up(const JobRow& job, const StageRow& stage,
                                      const Observation& seen, double now) {
  if (seen.launches > 0 && !passed(seen.last_launch, backoff_seconds(seen.launches), now))
    return {};
  const bool may_live = seen.started || stage.attempt->state == AttemptState::kRunning;
  if (may_live || seen.launches < kMaxLaunches) {
    return {effect(Action::Kind::kLaunch, stage, seen.launches > 0 ? seen.reason : "")};
  }
  const Wish wish = wish_of(job, stage);
  AttemptEnd end;
  end.failures = stage.failures + 1;
  end.next = wish == Wish::kRun ? StageState::kFailed : unwanted_end(wish);
  if (seen.launcher == Observation::Launcher::kForeign) {
    end.outcome = "invalid";
    end.exit_code = kExitUsage;
    end.reason = fmt::format("run directory {} in use by {}", stage.run_directory, seen.holder);
  } else {
    end.outcome = "failed";
    end.exit_code = kExitFailed;
    end.reason = fmt::format(
        "talaria-launch could not be started: {} times it left neither a lock nor a report{}{}",
        seen.launches, seen.reason.empty() ? "" : ": ", seen.reason);
  }
  return {end_with(stage, std::move(end))};
}

std::vector<Action> watch_launcher(const JobRow& job, const StageRow& stage,
                                   const Observation& seen) {
  std::vector<Action> actions;
  if (stage.attempt->state == AttemptState::kPlanned) {
    actions.push_back(effect(Action::Kind::kRunning, stage));
  }
  const Wish wish = wish_of(job, stage);
  if (wish == Wish::kKill) {
    if (!seen.killed) {
      actions.push_back(effect(Action::Kind::kKill, stage, unwanted_reason(wish)));
    }
  } else if (wish != Wish::kRun && !seen.killed) {
    // Also for a stage that is stopping already: who asked may have died before it did.
    if (stage.state == StageState::kRunning || !seen.asked) {
      actions.push_back(effect(Action::Kind::kAskStop, stage, unwanted_reason(wish)));
    }
  }
  return actions;
}

std::vector<Action> advance_attempt(const JobRow& job, const StageRow& stage,
                                    const std::map<StageKey, Observation>& all, double now) {
  TALARIA_CHECK(has_live_attempt(stage), "job {} stage {} is {} without an attempt", stage.key.job,
                stage.key.stage, name(stage.state));
  const auto found = all.find(stage.key);
  if (found == all.end()) return {};
  const Observation& seen = found->second;
  if (seen.reported) return {end_with(stage, reported_end(job, stage, seen, now))};
  if (seen.launcher == Observation::Launcher::kAlive) return watch_launcher(job, stage, seen);
  return launch_or_give_up(job, stage, seen, now);
}

std::vector<Action> advance(const JobRow& job, const StageRow& stage,
                            const std::map<StageKey, Observation>& seen, double now) {
  switch (stage.state) {
    case StageState::kRunning:
    case StageState::kStopping:
      return advance_attempt(job, stage, seen, now);
    case StageState::kPending:
    case StageState::kQueued:
    case StageState::kBackoff:
      if (job.wish != Wish::kRun) {
        return {move_to(stage, unwanted_end(job.wish), unwanted_reason(job.wish))};
      }
      if (stage.state == StageState::kPending) return after_others(job, stage);
      return {};
    default:
      return {};
  }
}

// --- starts

// The stages that start now, but for their gates.
std::vector<const StageRow*> due(const std::vector<JobRow>& jobs, const Limits& limits,
                                 double now) {
  std::vector<const StageRow*> waiting;
  int slots = 0;
  for (const JobRow& job : jobs) {
    for (const StageRow& stage : job.stages) {
      if (holds_slot(stage.state)) ++slots;
      if (job.wish != Wish::kRun) continue;
      if (stage.state == StageState::kQueued || stage.state == StageState::kBackoff) {
        waiting.push_back(&stage);
      }
    }
  }
  std::sort(waiting.begin(), waiting.end(),
            [](const StageRow* a, const StageRow* b) { return a->key < b->key; });
  std::vector<const StageRow*> starting;
  for (const StageRow* stage : waiting) {
    if (stage->state == StageState::kQueued) {
      if (slots++ < limits.parallel_jobs) starting.push_back(stage);
    } else if (now >= stage->not_before || stage->not_before - now > kLongestBackoff) {
      // No wait is longer than this, whatever the clock did.
      starting.push_back(stage);
    }
  }
  return starting;
}

// In backoff it has passed its gates.
bool is_gated(const StageRow& stage) {
  return stage.state == StageState::kQueued && !stage.gates.empty();
}

}  // namespace

double backoff_seconds(int failures) {
  return std::min(kLongestBackoff, std::ldexp(0.5, std::clamp(failures, 1, 32) - 1));
}

std::vector<Action> schedule(const std::vector<JobRow>& jobs, const Limits& limits,
                             const std::map<StageKey, std::string>& gates, double now) {
  std::vector<Action> actions;
  for (const StageRow* stage : due(jobs, limits, now)) {
    if (!is_gated(*stage)) {
      actions.push_back(effect(Action::Kind::kStart, *stage));
      continue;
    }
    const auto fault = gates.find(stage->key);
    if (fault == gates.end()) continue;
    actions.push_back(fault->second.empty() ? effect(Action::Kind::kStart, *stage)
                                            : move_to(*stage, StageState::kFailed, fault->second));
  }
  return actions;
}

std::vector<StageKey> to_judge(const std::vector<JobRow>& jobs, const Limits& limits, double now) {
  std::vector<StageKey> keys;
  for (const StageRow* stage : due(jobs, limits, now)) {
    if (is_gated(*stage)) keys.push_back(stage->key);
  }
  return keys;
}

std::vector<Action> reconcile(const std::vector<JobRow>& jobs,
                              const std::map<StageKey, Observation>& seen, double now) {
  std::vector<Action> actions;
  for (const JobRow& job : jobs) {
    for (const StageRow& stage : job.stages) {
      std::vector<Action> more = advance(job, stage, seen, now);
      std::move(more.begin(), more.end(), std::back_inserter(actions));
    }
  }
  return actions;
}

}  // namespace talaria::coordinator
