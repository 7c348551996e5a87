// SPDX-License-Identifier: Apache-2.0
// Who hangs: a pure judgement of what the ranks of an attempt last said. docs/orchestrator.md,
// "Rank channel". All times are monotonic seconds.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "cluster/wire/rank_message.h"

namespace talaria::coordinator {

// What one rank last said.
struct RankSignal {
  bool heard = false;  // it has registered since the coordinator began to watch
  bool connected = false;
  bool left = false;  // it said bye
  double last_heard = 0.0;
  wire::Beat beat;
  std::string host;
  std::int64_t pid = 0;
};

// Seconds a rank may be in each phase; by wire::Phase.
using Deadlines = std::array<double, wire::kPhases>;

// Learns deadlines: a phase that ended may next time take 20 times the longest that was seen, at
// least 30 s; one that never ended, 600 s.
class PhaseTimes {
 public:
  // Of each beat of any rank; `before` is that rank's beat before it.
  void observe(const wire::Beat& before, const wire::Beat& now);
  // `fixed` by phase: seconds of the job file, 0 where it leaves them to be learned.
  Deadlines deadlines(const Deadlines& fixed) const;

 private:
  std::array<double, wire::kPhases> longest_{};
  std::array<bool, wire::kPhases> ended_{};
};

struct Hang {
  int rank = 0;
  wire::Phase phase = wire::Phase::kStart;
  std::int64_t step = 0;
  double seconds = 0.0;  // in this phase, or without a word
  bool silent = false;   // it says nothing, else it says that it is stuck
  wire::Wait wait = wire::Wait::kNone;
  bool all_left =
      false;  // every rank said bye: what started them does not end, no rank is to blame

  // "rank 3 on node1 hangs: 12.0 s in phase step after step 17, and says nothing".
  std::string describe(const std::string& host) const;
};

// The rank to blame when one is over its deadline: of all ranks, first a silent one, then the one
// over its deadline that waits in no collective, then the one over it longest. Ranks that never
// registered count as silent in the start phase since `watched_since`, but only once another has
// registered. When all have left, what started them has as long to end as a rank has to finish.
std::optional<Hang> find_hang(std::span<const RankSignal> ranks, const Deadlines& deadlines,
                              double beat_seconds, double watched_since, double now);

}  // namespace talaria::coordinator
