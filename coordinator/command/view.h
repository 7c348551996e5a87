// SPDX-License-Identifier: Apache-2.0
// How a job looks while it runs, as text: the block of lines that a terminal redraws and the single
// line for a log. Pure: a JobView in, lines out.
#pragma once

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

// `text` as lines of at most `width` columns, broken between words; all but the first are indented.
std::vector<std::string> wrap(const std::string& text, int width, int indent);

}  // namespace talaria::coordinator
