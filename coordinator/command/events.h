// SPDX-License-Identifier: Apache-2.0
// What happens to a job, a line for each event. Pure: JobViews in, lines out.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// Compares each view of a job with the one before.
class EventLog {
 public:
  // What happened since the last call, oldest first, a line each: "14:40:00  attempt 2 starts".
  std::vector<std::string> update(const JobView& view, double now);
  // Takes what lies behind as known, but for the last `keep` transitions.
  void skip(const JobView& view, std::size_t keep);
  // A wish with this reason is our own, and needs no line.
  void expect(const std::string& reason) { own_reasons_.insert(reason); }

 private:
  std::size_t transitions_ = 0;
  std::vector<std::int64_t> checkpoints_;  // newest of each stage; -1: none
  bool checkpoints_known_ = false;
  std::string notice_;
  std::set<std::string> own_reasons_;
};

// What a stage has reached: "loss 2.314, validation_loss 2.4", under the names that gates know.
std::string metrics_text(const launch::Artifact& artifact);

// How a job that is over ended, on one line: "done: 1000 steps, loss 3.2145, in 3 min 12 s".
std::string result_line(const JobView& view);

}  // namespace talaria::coordinator
