// SPDX-License-Identifier: Apache-2.0
// How a job looks while it runs, as text: the block of lines that a terminal redraws, the single
// line for a log, and a line for each thing that happens. Pure: a JobView in, lines out.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

struct ViewStyle {
  int width = 80;      // columns of the terminal
  bool color = false;  // ANSI colours
};

// The stage that people look at: one that is at work, else the first that is not over, else the
// last. A job has at least one.
const StageView& current_stage(const JobView& view);

// The block; each line fits into the width. `now`: wall seconds.
std::vector<std::string> progress_block(const JobView& view, const ViewStyle& style, double now);

// "step 412/1000  loss 3.2145 ..." or "" while there is nothing to tell.
std::string progress_line(const JobView& view);

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

// `text` as lines of at most `width` columns, broken between words; all but the first are indented.
std::vector<std::string> wrap(const std::string& text, int width, int indent);

// How a job that is over ended, on one line: "done: 1000 steps, loss 3.2145, in 3 min 12 s".
std::string result_line(const JobView& view);

}  // namespace talaria::coordinator
