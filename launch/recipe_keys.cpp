// SPDX-License-Identifier: Apache-2.0
// The keys of the job kinds behind pretraining: where weights come from, chat data, reward models
// and PPO. Defaults are InstructGPT's (Ouyang et al. 2022, arXiv:2203.02155, appendix C) where it
// states them; lambda is Ziegler et al.'s (2019, arXiv:1909.08593).
#include "launch/key_builders.h"

namespace talaria::launch {

namespace {

JobKey only(std::vector<std::string> kinds, JobKey key) {
  key.kinds = std::move(kinds);
  return key;
}

constexpr const char* kWeightsRule =
    "a run directory, a checkpoint, or \"stage:NAME\" of a stage that is done before";

void add_mix(std::vector<JobKey>& keys) {
  keys.push_back(
      only({"sft", "ppo"}, integer("mix.rows", {0, kMostInt}, FIELD(mix.rows),
                                   "rows of pretraining text from data.sources beside each batch",
                                   "", "a multiple of parallel.data x train.micro_batch")));
  keys.push_back(
      only({"sft", "ppo"}, real("mix.coefficient", {0.0, 1e6}, FIELD(mix.coefficient),
                                "of their mean loss a token (gamma of PPO-ptx, which was 27.8)")));
}

void add_rewards(std::vector<JobKey>& keys) {
  keys.push_back(only({"ppo"}, real("rewards.model", {-1e6, 1e6}, FIELD(rewards.model),
                                    "weight of the reward model's score")));
  keys.push_back(
      only({"ppo"}, choice("rewards.rule", {"none", "exact", "match", "share"}, FIELD(rewards.rule),
                           "exact: the response is the prompt's answer; match: matches of pattern; "
                           "share: matches of pattern by matches of of")));
  keys.push_back(only({"ppo"}, text("rewards.pattern", FIELD(rewards.pattern),
                                    "a regular expression (PCRE2)", "", "with match and share")));
  keys.push_back(only({"ppo"}, text("rewards.of", FIELD(rewards.of), "what the share is of (PCRE2)",
                                    "", "with share")));
  keys.push_back(
      only({"ppo"}, choice("rewards.compare", {"no", "text", "number"}, FIELD(rewards.compare),
                           "count only matches whose group 1 is the prompt's answer")));
  keys.push_back(only({"ppo"}, boolean("rewards.count", FIELD(rewards.count),
                                       "the score of match is the number of matches, else 1 where "
                                       "there is one")));
  keys.push_back(only({"ppo"}, real("rewards.rule_weight", {-1e6, 1e6}, FIELD(rewards.rule_weight),
                                    "weight of the rule's score")));
  keys.push_back(only({"ppo"}, real("rewards.clip", {0.0, 1e6}, FIELD(rewards.clip),
                                    "largest magnitude of a score; 0: no limit")));
  keys.push_back(
      only({"ppo"}, boolean("rewards.score_unfinished", FIELD(rewards.score_unfinished),
                            "score a response without end of turn as it stands, else give it "
                            "rewards.unfinished_score")));
  keys.push_back(
      only({"ppo"}, real("rewards.unfinished_score", {-1e6, 1e6}, FIELD(rewards.unfinished_score),
                         "score of a response without end of turn")));
}

void add_rollout(std::vector<JobKey>& keys) {
  keys.push_back(only({"ppo"}, integer("ppo.rollout_batch", {1, kMostInt}, FIELD(ppo.rollout_batch),
                                       "episodes an iteration (a step) draws", "train.global_batch",
                                       "a multiple of train.global_batch")));
  keys.push_back(
      only({"sft", "ppo"},
           integer("ppo.response_tokens", {1, kMostInt}, FIELD(ppo.response_tokens),
                   "longest response; with sft the longest answer that start.reward judges", "",
                   "less than train.sequence_length and model.context")));
  keys.push_back(only({"sft", "ppo"}, integer("ppo.slots", {1, 1 << 16}, FIELD(ppo.slots),
                                              "sequences that a replica decodes at once")));
  keys.push_back(
      only({"ppo"}, real("ppo.temperature", {0.01, 100.0, false, false}, FIELD(ppo.temperature),
                         "divides the logits of the policy and of its reference in every pass, "
                         "not those of `mix.rows`")));
  keys.push_back(only({"ppo"}, integer("ppo.top_k", {0, kMostInt}, FIELD(ppo.top_k),
                                       "draw from the k likeliest tokens; 0: from all")));
  keys.push_back(only({"ppo"}, real("ppo.top_p", {0.0, 1.0, true, false}, FIELD(ppo.top_p),
                                    "draw from the likeliest tokens of this probability")));
}

void add_update(std::vector<JobKey>& keys) {
  const RealRange positive{0.0, 1e6, true, false};
  const RealRange share{0.0, 1.0};
  keys.push_back(only({"ppo"}, integer("ppo.epochs", {1, 1 << 10}, FIELD(ppo.epochs),
                                       "passes over an iteration's episodes, in minibatches of "
                                       "train.global_batch")));
  keys.push_back(only({"ppo"}, real("ppo.clip", positive, FIELD(ppo.clip), "of the ratio")));
  keys.push_back(only(
      {"ppo"}, real("ppo.value_clip", positive, FIELD(ppo.value_clip), "of a value's change")));
  keys.push_back(only({"ppo"}, real("ppo.gamma", share, FIELD(ppo.gamma), "discount")));
  keys.push_back(only({"ppo"}, real("ppo.lambda", share, FIELD(ppo.lambda),
                                    "of generalised advantage estimation")));
  keys.push_back(only({"ppo"}, boolean("ppo.whiten_advantages", FIELD(ppo.whiten_advantages),
                                       "advantages of an iteration get mean 0, variance 1")));
  keys.push_back(only({"ppo"}, boolean("ppo.whiten_rewards", FIELD(ppo.whiten_rewards),
                                       "rewards get variance 1, their mean stays")));
  keys.push_back(only({"ppo"}, choice("ppo.kl", {"fixed", "adaptive"}, FIELD(ppo.kl),
                                      "the coefficient stays, or follows ppo.kl_target")));
  keys.push_back(only({"ppo"}, real("ppo.kl_coefficient", {0.0, 1e6}, FIELD(ppo.kl_coefficient),
                                    "of the KL penalty a token (the first one, if adaptive)")));
  keys.push_back(only({"ppo"}, real("ppo.kl_target", positive, FIELD(ppo.kl_target),
                                    "nats a response, with kl = \"adaptive\"")));
  keys.push_back(only({"ppo"}, real("ppo.kl_horizon", {0.0, 1e12, true, false},
                                    FIELD(ppo.kl_horizon), "episodes, with kl = \"adaptive\"")));
  keys.push_back(only({"ppo"}, real("ppo.entropy_coefficient", {0.0, 1e6},
                                    FIELD(ppo.entropy_coefficient), "of the entropy bonus")));
  keys.push_back(only({"ppo"}, real("ppo.stop_kl", {0.0, 1e6}, FIELD(ppo.stop_kl),
                                    "approximate KL of a minibatch after whose update the "
                                    "iteration's updates end; 0: none does")));
  keys.push_back(
      only({"ppo"}, real("ppo.value_learning_rate", {0.0, 1e3}, FIELD(ppo.value_learning_rate),
                         "peak, for the value network", "optimizer.learning_rate")));
  keys.push_back(only({"ppo"}, real("ppo.ema", {0.0, 1.0, false, true}, FIELD(ppo.ema),
                                    "decay of the averaged weights that the run hands on; 0: "
                                    "none (InstructGPT: 0.992)")));
  keys.push_back(
      only({"sft", "ppo"}, boolean("ppo.offload", FIELD(ppo.offload),
                                   "reference and reward model are in memory only while they "
                                   "score, the cache only while it is used")));
}

}  // namespace

void add_start(std::vector<JobKey>& keys) {
  keys.push_back(text("start.weights", FIELD(start.weights),
                      "the weights that training begins with; \"\": drawn from the seed", "",
                      kWeightsRule));
  keys.push_back(
      only({"ppo"}, text("start.reference", FIELD(start.reference),
                         "the model that the policy is held to", "start.weights", kWeightsRule)));
  keys.push_back(
      only({"sft", "ppo"},
           text("start.reward", FIELD(start.reward),
                "the reward model; with sft it judges answers to validation prompts, and select = "
                "\"best\" goes by its scores",
                "", kWeightsRule)));
  keys.push_back(only({"ppo"}, text("start.value", FIELD(start.value), "the value network",
                                    "start.reward, else start.weights", kWeightsRule)));
}

void add_chat_data(std::vector<JobKey>& keys) {
  const std::vector<std::string> chat = {"sft", "reward", "ppo"};
  keys.push_back(only(chat, strings("data.files", FIELD(data.files),
                                    "JSONL of conversations, comparisons or prompts",
                                    "required for sft, reward and ppo; see docs/chat-data.md")));
  keys.push_back(only(chat, choice("data.template", {"chatml", "llama3", "hh", "plain"},
                                   FIELD(data.chat), "how a conversation is spelled")));
  keys.push_back(only(chat, integer("data.max_bad_lines", {.low = 0}, FIELD(data.max_bad_lines),
                                    "lines that may be skipped as bad before it is an error")));
  keys.push_back(only({"sft", "reward"}, boolean("data.packing", FIELD(data.packing),
                                                 "several conversations share a row")));
}

void add_recipes(std::vector<JobKey>& keys) {
  add_mix(keys);
  keys.push_back(only({"reward"}, strings("reward.demonstrations", FIELD(reward.demonstrations),
                                          "JSONL of conversations; the bias is shifted at the end "
                                          "so that their mean reward is 0",
                                          "files")));
  add_rewards(keys);
  add_rollout(keys);
  add_update(keys);
}

}  // namespace talaria::launch
