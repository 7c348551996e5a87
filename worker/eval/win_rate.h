// SPDX-License-Identifier: Apache-2.0
// `talaria eval win-rate`: two models answer the same prompts, a reward model or a rule says whose
// answer is better.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "worker/eval/answers.h"
#include "worker/rules.h"

namespace talaria::worker {

struct WinRateOptions {
  InferenceOptions shared;  // layout, threads, tokenizer
  std::filesystem::path a;  // a run or a checkpoint, each
  std::filesystem::path b;
  std::filesystem::path judge;  // a reward model's; empty: the rule judges
  RewardRule rule;
  std::vector<std::filesystem::path> files;
  std::string chat_template;  // "": the one that the jobs name
  std::int64_t max_bad_lines = 0;
  std::int64_t limit = 0;  // prompts; 0: all
  AnswerOptions answer;
  std::filesystem::path out;  // a line of JSON a prompt; empty: none
  bool json = false;
};

// What scores say: a wins where its score is the larger, equal ones tie. Pure.
struct Duel {
  std::int64_t wins = 0;
  std::int64_t losses = 0;
  std::int64_t ties = 0;
  double mean_a = 0.0;
  double mean_b = 0.0;

  std::int64_t count() const { return wins + losses + ties; }
  // (wins + ties / 2) / count.
  double win_rate() const;
};
Duel compare_scores(const std::vector<double>& a, const std::vector<double>& b);

int eval_win_rate(parallel::Process* process, const WinRateOptions& options);

}  // namespace talaria::worker
