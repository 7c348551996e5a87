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
    kForeign  // the run directory is another attempt's
  };
  Launcher launcher = Launcher::kAbsent;
  std::string holder;     // kForeign: "pid 17 on node1"
  bool started = false;   // started.json is there: processes of it may live
  bool reported = false;  // exit.json is there:
  std::string outcome;    //   outcome_name()
  int exit_code = 0;      //
  std::string reason;     //   (without a report: what the last launcher said when it gave up)
  std::string complaint;  // the attempt was ended by the coordinator for this ("rank 3 hung in
                          // step ..."); else ""
  bool new_checkpoint = false;  // one was committed during this attempt
  int launches = 0;             // launchers started for it by this process
  double last_launch = 0.0;     // wall seconds
  bool asked = false;           // this process has asked the launcher to stop (kAskStop)
  bool killed = false;          // this process has told it to end at once (kKill)
};

struct Action {
  enum class Kind {
    kMove,     // stage -> `to`
    kStart,    // plan an attempt of the stage, then launch it
    kLaunch,   // start a launcher for the planned or running attempt (first time, or to clean up);
               // `reason`: what hindered the one before
    kRunning,  // the launcher was seen: attempt planned -> running
    kEnd,      // record `end`
    kAskStop,  // stage running -> stopping (unless it is already), then SIGTERM to the launcher
    kKill      // stage running -> stopping (unless it is already), then SIGQUIT to the launcher
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

// Starts, when reconcile() has nothing more to do (a stage that has just ended may make way for one
// of its own job, which goes before later jobs): strictly first in, first out by job id, then
// stage; a stage in backoff keeps its slot. A stage with gates that is due starts where `gates` has
// "" for it, fails for the reason that stands there, and waits, first in its turn, where it has
// nothing.
std::vector<Action> schedule(const std::vector<JobRow>& jobs, const Limits& limits,
                             const std::map<StageKey, std::string>& gates, double now);
// The stages whose gates schedule() wants to know of.
std::vector<StageKey> to_judge(const std::vector<JobRow>& jobs, const Limits& limits, double now);

// Everything else, for all unended jobs, to be done in this order; each stage is advanced by what
// can be decided now, a later call goes on. A stage whose attempt has not ended is left alone where
// `seen` does not know it.
std::vector<Action> reconcile(const std::vector<JobRow>& jobs,
                              const std::map<StageKey, Observation>& seen, double now);

}  // namespace talaria::coordinator
