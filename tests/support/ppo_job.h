// SPDX-License-Identifier: Apache-2.0
// A folder with everything that a small PPO job needs: sums for a tokenizer, prompts with their
// answers, a policy that was fine-tuned for a few steps and a reward model likewise.
#pragma once

#include <filesystem>
#include <string>

#include "tests/support/run_job.h"

namespace talaria::worker {

// Sums of two digits: text.txt, and as conversations, comparisons and prompts with their answers
// chat.jsonl, compare.jsonl and prompts.jsonl, 400 lines each. `folder` is there.
void write_sums(const std::filesystem::path& folder);

// What is added to the job's tables; see job_text() in ppo_job.cpp for what they hold anyway.
struct PpoJobOptions {
  std::string train;  // [train] but for micro_batch and sequence_length
  std::string ppo;    // [ppo] but for response_tokens
};

// Two updates an iteration, everything on: a reward model and a rule, rows of pretraining text,
// averaged weights, adaptive KL, entropy bonus. 6 steps.
extern const PpoJobOptions kSmallPpo;

// Makes `folder` (emptied first) with the runs "sft" and "reward", the job files sft.toml,
// reward.toml and, of the PPO job, job.toml.
JobFolder make_ppo_folder(const std::filesystem::path& folder, const PpoJobOptions& options);

}  // namespace talaria::worker
