// SPDX-License-Identifier: Apache-2.0
#include "coordinator/state/states.h"

#include <algorithm>
#include <array>
#include <string>

#include "cluster/base/error.h"

namespace talaria::coordinator {
namespace {

constexpr std::array kStageNames = {"pending", "queued", "running", "backoff",  "stopping",
                                    "done",    "failed", "stopped", "cancelled"};
constexpr std::array kAttemptNames = {"planned", "running", "ended"};
constexpr std::array kWishNames = {"run", "stop", "cancel", "kill"};

template <class Enum, std::size_t N>
Enum parse(std::string_view word, const std::array<const char*, N>& names, const char* what) {
  const auto at = std::find(names.begin(), names.end(), word);
  if (at == names.end()) fail("{}: unknown {}", word, what);
  return static_cast<Enum>(at - names.begin());
}

template <class State>
struct Arrow {
  State from;
  State to;
};

using S = StageState;
constexpr Arrow<S> kStageTable[] = {
    {S::kPending, S::kQueued},    {S::kPending, S::kCancelled}, {S::kPending, S::kStopped},
    {S::kQueued, S::kRunning},    {S::kQueued, S::kFailed},     {S::kQueued, S::kCancelled},
    {S::kQueued, S::kStopped},    {S::kRunning, S::kDone},      {S::kRunning, S::kFailed},
    {S::kRunning, S::kBackoff},   {S::kRunning, S::kStopping},  {S::kRunning, S::kStopped},
    {S::kRunning, S::kCancelled}, {S::kBackoff, S::kRunning},   {S::kBackoff, S::kFailed},
    {S::kBackoff, S::kStopped},   {S::kBackoff, S::kCancelled}, {S::kStopping, S::kDone},
    {S::kStopping, S::kFailed},   {S::kStopping, S::kStopped},  {S::kStopping, S::kCancelled},
    {S::kFailed, S::kQueued},     {S::kFailed, S::kPending},    {S::kStopped, S::kQueued},
    {S::kStopped, S::kPending},   {S::kCancelled, S::kQueued},  {S::kCancelled, S::kPending},
};

using A = AttemptState;
constexpr Arrow<A> kAttemptTable[] = {
    {A::kPlanned, A::kRunning}, {A::kPlanned, A::kEnded}, {A::kRunning, A::kEnded}};

template <class State, std::size_t N>
bool listed(const Arrow<State> (&table)[N], State from, State to) {
  return std::any_of(std::begin(table), std::end(table), [&](const Arrow<State>& arrow) {
    return arrow.from == from && arrow.to == to;
  });
}

}  // namespace

const char* name(StageState state) { return kStageNames.at(static_cast<std::size_t>(state)); }
const char* name(AttemptState state) { return kAttemptNames.at(static_cast<std::size_t>(state)); }
const char* name(Wish wish) { return kWishNames.at(static_cast<std::size_t>(wish)); }

StageState parse_stage_state(std::string_view word) {
  return parse<StageState>(word, kStageNames, "state of a stage");
}
AttemptState parse_attempt_state(std::string_view word) {
  return parse<AttemptState>(word, kAttemptNames, "state of an attempt");
}
Wish parse_wish(std::string_view word) { return parse<Wish>(word, kWishNames, "wish"); }

bool legal(StageState from, StageState to) { return listed(kStageTable, from, to); }
bool legal(AttemptState from, AttemptState to) { return listed(kAttemptTable, from, to); }

StageState job_state(std::span<const StageState> stages) {
  const auto any = [&](StageState wanted) {
    return std::find(stages.begin(), stages.end(), wanted) != stages.end();
  };
  for (const StageState state : {S::kStopping, S::kRunning, S::kBackoff}) {
    if (any(state)) return state;
  }
  if (any(S::kQueued) || any(S::kPending)) return S::kQueued;
  for (const StageState state : {S::kFailed, S::kCancelled, S::kStopped}) {
    if (any(state)) return state;
  }
  return S::kDone;
}

}  // namespace talaria::coordinator
