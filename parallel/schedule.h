// SPDX-License-Identifier: Apache-2.0
// A pipeline schedule is a value: for each stage the list of actions it performs, in order. The
// runner executes it, check_schedules proves it, tests read what it holds in memory. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace talaria::parallel {

enum class ActionKind : std::uint8_t {
  kReceiveActivation,  // from the stage before
  kForward,
  kSendActivation,   // to the stage behind
  kReceiveGradient,  // from the stage behind
  kBackward,
  kSendGradient,  // to the stage before
};

struct Action {
  ActionKind kind;
  int micro_batch;
  bool operator==(const Action&) const = default;
};

using Schedule = std::vector<Action>;

// The schedules that make_schedule knows.
std::span<const std::string_view> schedule_names();

// The actions of `stage` of `stages` for `micro_batches` micro-batches. Forward and backward passes
// each run in ascending micro-batch order.
//   "gpipe"  all forwards, then all backwards (Huang et al. 2019, arXiv:1811.06965)
//   "1f1b"   stages - stage - 1 warm-up forwards, then one forward and one backward in turn
//            (Narayanan et al. 2021, arXiv:2104.04473, figure 4 top)
Schedule make_schedule(std::string_view name, int stage, int stages, int micro_batches);

// Forward passes only, for evaluation.
Schedule make_forward_schedule(int stage, int stages, int micro_batches);

// The most micro-batches whose activations are held at once: forward done, backward not yet.
int max_live_micro_batches(const Schedule& schedule);

// Runs all stages' schedules against channels that hold `send_depth` unread messages per direction
// and neighbour. Returns "" when every action completes and every receive matches its send, or else
// a sentence that names the stages that wait, or the mismatch.
std::string check_schedules(std::span<const Schedule> stages, int send_depth);

// "F0 F1 B0 ..." of one stage; sends and receives left out.
std::string draw(const Schedule& schedule);

// Cuts `costs` (one number a layer, in order) into `parts` non-empty runs so that the largest sum
// is as small as possible; ties go to the earliest cut. Returns parts + 1 bounds. costs.size() >=
// parts.
std::vector<int> cut_by_cost(std::span<const double> costs, int parts);

}  // namespace talaria::parallel
