// SPDX-License-Identifier: Apache-2.0
// The graph of a job's stages as the run directories tell it: what each stage hands on, and whether
// the gates hold. Reads a few small files, with the rights of the job's user.
#pragma once

#include <string>

#include "coordinator/state/store.h"
#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// Why the gates of a stage, whose `after` are done, keep it from starting, with what to do about
// it; "" where all hold. A number that cannot be read is such a reason, too.
std::string judge_gates(const JobRow& job, const StageRow& stage);

// Fills each stage's gates and artifact.
void add_graph(JobView& view);

}  // namespace talaria::coordinator
