// SPDX-License-Identifier: Apache-2.0
// The states of a job stage and of an attempt, and the one table of legal transitions. A job's
// state follows from its stages'.
#pragma once

#include <span>
#include <string_view>

namespace talaria::coordinator {

enum class StageState {
  kPending,
  kQueued,
  kRunning,
  kBackoff,
  kStopping,
  kDone,
  kFailed,
  kStopped,
  kCancelled
};
enum class AttemptState { kPlanned, kRunning, kEnded };
// What the user asked for, in ascending urgency: a later wish may only be stronger, until retry.
enum class Wish { kRun, kStop, kCancel, kKill };

const char* name(StageState state);  // "pending", ...
const char* name(AttemptState state);
const char* name(Wish wish);
StageState parse_stage_state(std::string_view word);  // each throws Error for another word
AttemptState parse_attempt_state(std::string_view word);
Wish parse_wish(std::string_view word);

bool legal(StageState from, StageState to);
bool legal(AttemptState from, AttemptState to);

inline bool ended(StageState s) {
  return s == StageState::kDone || s == StageState::kFailed || s == StageState::kStopped ||
         s == StageState::kCancelled;
}
// It has an attempt, or will have one without anybody asking.
inline bool holds_slot(StageState s) {
  return s == StageState::kRunning || s == StageState::kBackoff || s == StageState::kStopping;
}

// The first of stopping, running, backoff that a stage is in; else queued while one can still run;
// else the first of failed, cancelled, stopped; else done.
StageState job_state(std::span<const StageState> stages);

}  // namespace talaria::coordinator
