// SPDX-License-Identifier: Apache-2.0
#include "cluster/wire/rank_status.h"

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::wire {
namespace {

constexpr const char* kPhaseNames[kPhases] = {"start", "setup",    "restore", "rollout", "score",
                                              "step",  "evaluate", "save",    "finish"};
constexpr const char* kWaitNames[] = {"",          "all_reduce", "reduce_scatter", "all_gather",
                                      "broadcast", "receive",    "send",           "barrier"};

}  // namespace

// A status may be read after its rank was killed or went wild, so no number is a bug here.
const char* phase_name(Phase phase) {
  const auto index = static_cast<std::int32_t>(phase);
  return index >= 0 && index < kPhases ? kPhaseNames[index] : "unknown";
}

Phase parse_phase(std::string_view name) {
  for (int i = 0; i < kPhases; ++i) {
    if (name == kPhaseNames[i]) return static_cast<Phase>(i);
  }
  fail("phase {}: unknown", in_quotes(name));
}

const char* wait_name(Wait wait) {
  const auto index = static_cast<std::size_t>(wait);
  return index < std::size(kWaitNames) ? kWaitNames[index] : "unknown";
}

void RankStatus::enter(Phase next) {
  phase_started.store(monotonic_seconds());
  phase.store(static_cast<std::int32_t>(next));
}

}  // namespace talaria::wire
