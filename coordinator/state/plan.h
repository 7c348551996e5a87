// SPDX-License-Identifier: Apache-2.0
// What to do next: pure functions from what is recorded and what is observed to a list of actions.
// Each action is one transaction of the store, then one effect that may be repeated.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/state/store.h"

namespace talaria::coordinator {

// What was seen of a stage's newest attempt, if that has not ended.
struct Observation {
  enum class Launcher {
    kAbsent,
    kAlive,
    kForeign
  };  // kForeign: the run directory is another attempt's
  Launcher launcher = Launcher::kAbsent;
  std::string holder;     // kForeign: "pid 17 on node1"
  bool reported = false;  // exit.json is there:
  std::string outcome;    //   outcome_name()
  int exit_code = 0;
  std::string reason;
  std::string complaint;  // the attempt was ended by the coordinator for this ("rank 3 hung in step
                          // ..."); else ""
  bool new_checkpoint = false;  // one was committed during this attempt
  int launches = 0;             // launchers started for it by this process
  double last_launch = 0.0;     // wall seconds
};

struct Action {
  enum class Kind {
    kMove,     // stage -> `to`
    kStart,    // plan an attempt of the stage, then launch it
    kLaunch,   // start a launcher for the planned or running attempt (first time, or to clean up)
    kRunning,  // the launcher was seen: attempt planned -> running
    kEnd,      // record `end`
    kAskStop,  // SIGTERM to the launcher; stage running -> stopping
    kKill      // SIGQUIT to the launcher
  };
  Kind kind = Kind::kMove;
  StageKey stage;
  StageState to = StageState::kQueued;
  AttemptEnd end;
  std::string reason;
};

struct Limits {
  int parallel_jobs = 1;  // stages that may hold a slot at once
};

// Seconds before the attempt after `failures` failures in a row (1, 2, ...): 0.5, 1, 2, ... 60.
double backoff_seconds(int failures);

// Starts: strictly first in, first out by job id, a stage in backoff keeps its slot.
std::vector<Action> schedule(const std::vector<JobRow>& jobs, const Limits& limits, double now);

// Everything else, for all unended jobs.
std::vector<Action> reconcile(const std::vector<JobRow>& jobs,
                              const std::map<StageKey, Observation>& seen, double now);

}  // namespace talaria::coordinator
