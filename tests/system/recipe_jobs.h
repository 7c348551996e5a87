// SPDX-License-Identifier: Apache-2.0
// Small jobs of fine-tuning and of reward models for the real program: chat files that follow from
// a number, and what turns the job file of a JobFolder into one of these kinds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/run_job.h"

namespace talaria::worker {

// 2 layers, 4 heads, context 128, 12 steps of 8 rows.
extern const char* const kRecipeModel;

// `count` conversations of one to three turns; comparisons of two and of four answers, some of
// which tie, with ranks that nothing explains.
void write_conversations(const std::filesystem::path& file, int count);
void write_comparisons(const std::filesystem::path& file, int count);

// The keys that make the job of `jobs` one of `kind`, "sft" (packed, with rows of the mix) or
// "reward", on chat.jsonl or pairs.jsonl in its folder, with a checkpoint every 4 steps.
std::vector<std::string> recipe_keys(const JobFolder& jobs, const std::string& kind);

// Makes another tokenizer of as many ids in the folder of `jobs` and gives the key that names it.
std::string other_tokenizer_key(const JobFolder& jobs);

}  // namespace talaria::worker
