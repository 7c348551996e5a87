// SPDX-License-Identifier: Apache-2.0
// How a reward model judges what a model under fine-tuning answers to validation prompts: what
// InstructGPT chose its fine-tuned model by (Ouyang et al. 2022, arXiv:2203.02155, section 3.5).
#pragma once

#include <cstdint>
#include <vector>

#include "model/generator.h"
#include "storage/chat/chat_file.h"
#include "storage/text/tokenizer.h"
#include "worker/frozen_model.h"
#include "worker/task.h"

namespace talaria::worker {

class ValidationReward {
 public:
  // Asks what stands before the last answer of each of `conversations`, of the first
  // train.eval_samples that leave room for ppo.response_tokens; the rank that `leads` says how many
  // were skipped. Throws UsageError where none is left.
  ValidationReward(const launch::Job& job, const storage::Tokenizer& tokenizer,
                   const std::vector<storage::Conversation>& conversations, bool leads);

  // Finds and reads the reward model. Collective over world.
  void open(const TaskResources& resources);

  // Mean over the prompts of the reward model's number at the last token of the policy's likeliest
  // answer; the same on all ranks, and no finite number where one of them is none. The cache of
  // keys and values is there only meanwhile. Collective over world.
  double measure(Engine& policy);

 private:
  launch::Job job_;
  std::int32_t stop_;
  std::int32_t pad_;
  std::int64_t vocab_;
  std::int64_t longest_ = 0;  // ids of a prompt and its answer, at most
  std::vector<model::Prompt> prompts_;
  FrozenModel reward_;
};

}  // namespace talaria::worker
