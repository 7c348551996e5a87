// SPDX-License-Identifier: Apache-2.0
// What a rank does at this moment, as plain atomics that cost it nothing to update. Lies in memory
// shared with the process that waits for the rank (talaria-launch rank), so that it is known
// exactly what a killed rank was doing; else in the rank's own memory. Read by the reporter thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace talaria::wire {

// The phases of a rank's life, in the words of events.jsonl and [monitor]. An iteration of PPO goes
// through rollout (responses are sampled), score (models and rules judge them) and step (updates).
enum class Phase : std::int32_t {
  kStart,
  kSetup,
  kRestore,
  kRollout,
  kScore,
  kStep,
  kEvaluate,
  kSave,
  kFinish
};
inline constexpr int kPhases = 9;
const char* phase_name(Phase phase);       // "start", "setup", ...
Phase parse_phase(std::string_view name);  // throws Error for another word

// The collective a rank waits in; kNone while it computes.
enum class Wait : std::int32_t {
  kNone,
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kReceive,
  kSend,
  kBarrier
};
const char* wait_name(Wait wait);  // "", "all_reduce", ...

struct RankStatus {
  // What is not known yet: the loss before the first step, the validation loss before the first
  // evaluation of this process.
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  std::atomic<std::int32_t> phase{0};             // Phase
  std::atomic<std::int32_t> wait{0};              // Wait
  std::atomic<std::int64_t> step{0};              // steps done
  std::atomic<std::int64_t> steps{0};             // to do in all
  std::atomic<std::int64_t> checkpoint_step{-1};  // of the newest committed one, -1: none
  std::atomic<double> phase_started{0.0};         // monotonic_seconds()
  std::atomic<double> loss{kUnknown};             // of the last step, nats per token
  std::atomic<double> tokens_per_second{0.0};     // of the job, last step
  std::atomic<double> mfu{0.0};
  std::atomic<double> validation_loss{kUnknown};

  void enter(Phase next);  // sets phase and phase_started
};
static_assert(std::atomic<double>::is_always_lock_free &&
              std::atomic<std::int64_t>::is_always_lock_free);

// The environment variable that names the descriptor of the shared page (a number); read in main.
inline constexpr const char* kStatusFdVariable = "TALARIA_STATUS_FD";
// The environment variable that marks every process of an attempt; read in main.
inline constexpr const char* kAttemptIdVariable = "TALARIA_ATTEMPT_ID";

}  // namespace talaria::wire
