// SPDX-License-Identifier: Apache-2.0
// Follows a job to its end: shows it on stderr, passes the user's signals on, and turns its end
// into an exit code. The same code for a daemon's job and for one that `talaria run` embeds.
#pragma once

#include <functional>
#include <string>

#include "coordinator/api/client.h"
#include "coordinator/command/context.h"

namespace talaria::coordinator {

enum class ProgressStyle { kView, kLines, kNone };

// "auto", "view", "lines" or "none"; auto is a view on a terminal.
ProgressStyle progress_style(const std::string& word, const Environment& environment);

struct FollowOptions {
  ProgressStyle style = ProgressStyle::kLines;
  bool color = false;
  int fd = 2;                  // where it is shown
  bool from_the_start = true;  // else only the last few events of what lies behind
  // SIGINT, SIGTERM and SIGHUP, blocked by the caller, ask the job to stop; a second one ends it.
  bool signals_stop = false;
  // A coordinator that is away may come back (a daemon), or never (embedded).
  bool wait_for_coordinator = true;
  // Called at each look; throws what ended an embedded coordinator.
  std::function<void()> check = [] {};
};

// Returns the job as it ended.
JobView follow(const Client& client, std::int64_t job, const FollowOptions& options);

// Tells how the job ended, with the last lines of the rank that failed first, on stderr. Returns
// the exit code of `run` and `watch`.
int report_end(const JobView& view);

// For follow() with signals_stop: before any thread is started.
void block_stop_signals();

StageState state_of(const JobView& view);

}  // namespace talaria::coordinator
