// SPDX-License-Identifier: Apache-2.0
// What PPO job stages answered to their validation prompts, from samples.jsonl in their run
// directories (docs/metrics.md): before the training and now. Who shows a job reads it; a
// coordinator does not send it.
#pragma once

#include <string_view>
#include <vector>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// `begin` and `end`: whole lines from the two ends of the file, which may be the same lines. A row
// for each prompt of the first evaluation, in its order, at most 16. A line that is no sample is
// passed over.
std::vector<SampleView> parse_samples(std::string_view begin, std::string_view end);

// Fills the samples of each PPO stage, with the rights of the job's user. A file that cannot be
// read has none. Of a long file it reads a megabyte at either end.
void add_samples(JobView& view);

}  // namespace talaria::coordinator
