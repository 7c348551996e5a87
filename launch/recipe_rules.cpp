// SPDX-License-Identifier: Apache-2.0
// What the keys of fine-tuning, reward models and PPO demand of each other and of job.kind.
#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/text.h"
#include "launch/job_keys.h"
#include "launch/job_reader.h"

namespace talaria::launch {

namespace {

void refuse_foreign_keys(const JobReader& reader, const Job& job) {
  for (const JobKey& key : job_keys()) {
    if (key.kinds.empty() || !reader.given(key.name)) continue;
    if (std::find(key.kinds.begin(), key.kinds.end(), job.job.kind) != key.kinds.end()) continue;
    std::vector<std::string> kinds;
    for (const std::string& kind : key.kinds) kinds.push_back(in_quotes(kind));
    reader.refuse(key.name, fmt::format("found in a job of kind \"{}\"; allowed: with kind {} only",
                                        job.job.kind, join_or(kinds)));
  }
}

void settle_files(const JobReader& reader, const Job& job) {
  if (job.data.files.empty()) {
    reader.refuse("data.files",
                  fmt::format("missing; allowed with kind \"{}\": one or more JSONL files of {}, "
                              "files = [\"data/chat.jsonl\"]",
                              job.job.kind,
                              job.job.kind == "sft"      ? "conversations"
                              : job.job.kind == "reward" ? "comparisons"
                                                         : "prompts"));
  }
  if (job.data.tokenizer.empty()) {
    reader.refuse("data.tokenizer",
                  "missing; allowed: a folder made by `talaria-worker data prepare`");
  }
}

void settle_mix(const JobReader& reader, const Job& job) {
  if (job.mix.rows == 0) return;
  const std::int64_t unit = job.parallel.layout.data * job.train.micro_batch;
  if (job.mix.rows % unit != 0) {
    reader.refuse("mix.rows",
                  fmt::format("found {}; allowed: a multiple of {} (parallel.data {} x "
                              "train.micro_batch {})",
                              job.mix.rows, unit, job.parallel.layout.data, job.train.micro_batch));
  }
  if (job.train.sequence_length > job.model.context) {
    reader.refuse("train.sequence_length",
                  fmt::format("found {} with mix.rows {}; allowed: at most {} (model.context: a "
                              "row of pretraining text is one piece)",
                              job.train.sequence_length, job.mix.rows, job.model.context));
  }
}

// Prompt and response share a row and the positions of the model.
void check_response_tokens(const JobReader& reader, const Job& job) {
  const std::int64_t room = std::min(job.train.sequence_length, job.model.context);
  if (job.ppo.response_tokens < room) return;
  reader.refuse("ppo.response_tokens",
                fmt::format("found {}; allowed: an integer from 1 to {} (less than "
                            "train.sequence_length and model.context, which prompt and response "
                            "share)",
                            job.ppo.response_tokens, room - 1));
}

void settle_sft(const JobReader& reader, const Job& job) {
  if (job.start.reward.empty()) {
    for (const char* key : {"ppo.response_tokens", "ppo.slots", "ppo.offload"}) {
      if (!reader.given(key)) continue;
      reader.refuse(key,
                    "found in a job of kind \"sft\" without start.reward; allowed: beside a reward "
                    "model that judges answers");
    }
    return;
  }
  if (job.data.validation == 0.0) {
    reader.refuse("start.reward",
                  "found with data.validation = 0; allowed with kind \"sft\": with lines kept for "
                  "validation, whose prompts are answered");
  }
  check_response_tokens(reader, job);
}

void settle_reward(const JobReader& reader, const Job& job) {
  if (job.reward.demonstrations.empty() || job.checkpoint.select != "best") return;
  reader.refuse(
      "reward.demonstrations",
      "found with checkpoint.select = \"best\"; allowed: with select = \"last\" (the bias "
      "is shifted in the last checkpoint)");
}

void settle_rewards(const JobReader& reader, const Job& job) {
  const RewardsSection& rewards = job.rewards;
  if (job.start.reward.empty() && rewards.rule == "none") {
    reader.refuse("start.reward",
                  "missing; allowed: a reward model here, or a rule as rewards.rule, or both");
  }
  const bool takes_pattern = rewards.rule == "match" || rewards.rule == "share";
  if (takes_pattern && rewards.pattern.empty()) {
    reader.refuse(
        "rewards.pattern",
        fmt::format("missing; allowed with rule \"{}\": a regular expression", rewards.rule));
  }
  if (rewards.compare != "no" && rewards.rule != "match") {
    reader.refuse("rewards.compare",
                  fmt::format("found \"{}\" with rule \"{}\"; allowed: with rule "
                              "\"match\" only",
                              rewards.compare, rewards.rule));
  }
  if (rewards.rule == "share" && rewards.of.empty()) {
    reader.refuse("rewards.of", "missing; allowed with rule \"share\": a regular expression");
  }
}

void settle_ppo(const JobReader& reader, Job& job) {
  PpoSection& ppo = job.ppo;
  if (job.start.weights.empty()) {
    reader.refuse("start.weights", "missing; allowed with kind \"ppo\": the policy to begin with");
  }
  if (job.train.dropout > 0.0) {
    reader.refuse("train.dropout",
                  fmt::format("found {}; allowed with kind \"ppo\": 0 (a ratio of probabilities "
                              "compares two passes over the same network)",
                              job.train.dropout));
  }
  check_response_tokens(reader, job);
  if (!reader.given("ppo.rollout_batch")) ppo.rollout_batch = job.train.global_batch;
  if (ppo.rollout_batch % job.train.global_batch != 0) {
    reader.refuse("ppo.rollout_batch",
                  fmt::format("found {}; allowed: a multiple of {} (train.global_batch)",
                              ppo.rollout_batch, job.train.global_batch));
  }
  if (!reader.given("ppo.value_learning_rate")) {
    ppo.value_learning_rate = job.optimizer.learning_rate;
  }
  if (job.start.reference.empty()) job.start.reference = job.start.weights;
  if (job.start.value.empty()) {
    job.start.value = job.start.reward.empty() ? job.start.weights : job.start.reward;
  }
  // beta (1 + e n / horizon), e being at least -0.2, must stay above 0.
  if (ppo.kl == "adaptive" && static_cast<double>(ppo.rollout_batch) >= 5.0 * ppo.kl_horizon) {
    reader.refuse("ppo.kl_horizon",
                  fmt::format("found {}; allowed: above {} (a fifth of ppo.rollout_batch)",
                              ppo.kl_horizon, static_cast<double>(ppo.rollout_batch) / 5.0));
  }
  if (ppo.kl == "adaptive" && ppo.kl_coefficient == 0.0) {
    reader.refuse(
        "ppo.kl_coefficient",
        "found 0; allowed with kl = \"adaptive\": above 0 (the controller multiplies it)");
  }
  settle_rewards(reader, job);
}

}  // namespace

void settle_recipe(const JobReader& reader, Job& job) {
  refuse_foreign_keys(reader, job);
  if (job.job.kind == "pretrain") return;
  settle_files(reader, job);
  settle_mix(reader, job);
  if (job.job.kind == "sft") settle_sft(reader, job);
  if (job.job.kind == "reward") settle_reward(reader, job);
  if (job.job.kind == "ppo") settle_ppo(reader, job);
}

}  // namespace talaria::launch
