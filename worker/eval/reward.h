// SPDX-License-Identifier: Apache-2.0
// `talaria eval reward`: how often a reward model prefers what people preferred, and whether it
// knows how sure it may be.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "storage/chat/chat_file.h"
#include "worker/inference_model.h"

namespace talaria::worker {

struct RewardEvalOptions {
  InferenceOptions model;
  std::vector<std::filesystem::path> files;  // none: the validation part of the job's data.files
  std::string chat_template;                 // "": the job's
  std::int64_t max_bad_lines = 0;
  std::int64_t limit = 0;  // comparisons; 0: all
  bool json = false;
};

// rewards[i][k]: that of answer k of comparison i, read at its last token. Those of one row of
// row_length() tokens are computed together; each comparison fits one. Throws Error naming the line
// for a reward that is not finite. Collective over world; throws on all ranks alike.
std::vector<std::vector<double>> rewards_of(InferenceModel& judge,
                                            const std::vector<storage::Comparison>& comparisons);

// Throws Error naming the comparison's place for a reward that is NaN or infinite. Pure.
void check_rewards(const storage::Comparison& comparison, const std::vector<double>& rewards);

int eval_reward(parallel::Process* process, const RewardEvalOptions& options);

}  // namespace talaria::worker
