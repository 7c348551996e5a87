// SPDX-License-Identifier: Apache-2.0
#include "launch/gate.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "cluster/base/text.h"

namespace talaria::launch {

namespace {

using Names = std::vector<std::string>;

constexpr std::array kSigns = {">=", ">", "<=", "<", "=="};  // by Comparison
constexpr const char* kShape = "STAGE.METRIC OP NUMBER, for example \"reward.accuracy >= 0.6\"";

const char* sign(Comparison comparison) { return kSigns.at(static_cast<std::size_t>(comparison)); }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Result<Gate> refused(const std::string& what) { return Result<Gate>::failure(what); }

// What every trainer's line has, then what the kind adds in front.
Names with_common(Names own) {
  static const Names common = {"loss",   "validation_loss", "grad_norm", "learning_rate",
                               "tokens", "step_seconds",    "mfu",       "tokens_per_second"};
  own.insert(own.end(), common.begin(), common.end());
  return own;
}

// docs/metrics.md.
Names ppo_metrics() {
  return with_common({"validation_score",
                      "validation_model_score",
                      "validation_rule_score",
                      "mix_loss",
                      "eps",
                      "rollout/tokens_per_second",
                      "seconds/rollout",
                      "seconds/score",
                      "seconds/update",
                      "objective/scores",
                      "objective/kl",
                      "objective/entropy",
                      "objective/non_score_reward",
                      "objective/rlhf_reward",
                      "objective/model_scores",
                      "objective/rule_scores",
                      "objective/kl_coefficient",
                      "val/explained_variance",
                      "val/num_eos_tokens",
                      "response/length",
                      "response/stopped_share",
                      "sampler/logprob_max_difference",
                      "policy/approxkl_avg",
                      "policy/clipfrac_avg",
                      "policy/entropy_avg",
                      "loss/policy_avg",
                      "loss/value_avg",
                      "val/clipfrac_avg",
                      "val/ratio",
                      "val/ratio_var",
                      "lr",
                      "episode"});
}

struct Sides {
  std::string_view left;
  Comparison comparison = Comparison::kAtLeast;
  std::string_view right;
};

// The text before and behind a comparison; nothing where there is none of ours.
std::optional<Sides> split(std::string_view text) {
  constexpr std::string_view kMarks = "<>=!";
  const std::size_t at = text.find_first_of(kMarks);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t end = std::min(text.find_first_not_of(kMarks, at), text.size());
  const auto found = std::find(kSigns.begin(), kSigns.end(), text.substr(at, end - at));
  if (found == kSigns.end()) return std::nullopt;
  return Sides{trimmed(text.substr(0, at)), static_cast<Comparison>(found - kSigns.begin()),
               trimmed(text.substr(end))};
}

std::optional<double> finite_number(std::string_view text) {
  double number = 0.0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::string did_you_mean(std::string_view word, const Names& words) {
  const std::string nearest = nearest_word(word, words);
  return nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest);
}

std::string metrics_of(const GateStage& stage) {
  Names names;
  for (const std::string& metric : stage_metrics(stage.kind)) {
    names.push_back(stage.name + "." + metric);
  }
  return join_or(names);
}

// As few digits as tell it from the bound.
std::string measured(const Gate& gate, double value) {
  std::string brief = fmt::format("{:.4g}", value);
  const std::optional<double> read = finite_number(brief);
  if (read && holds(gate, *read) != holds(gate, value)) return fmt::format("{}", value);
  return brief;
}

}  // namespace

const Names& stage_metrics(std::string_view kind) {
  static const Names pretrain = with_common({"validation_bits_per_byte"});
  static const Names sft = with_common({"mix_loss", "trained_tokens", "validation_reward"});
  static const Names reward =
      with_common({"accuracy", "margin", "calibration_error", "training_accuracy"});
  static const Names ppo = ppo_metrics();
  return kind == "ppo" ? ppo : kind == "reward" ? reward : kind == "sft" ? sft : pretrain;
}

const Names& key_metrics(std::string_view kind) {
  static const Names pretrain = {"loss", "validation_loss", "validation_bits_per_byte"};
  static const Names sft = {"loss", "validation_loss", "validation_reward"};
  static const Names reward = {"accuracy", "margin", "calibration_error", "validation_loss"};
  static const Names ppo = {"objective/scores", "objective/kl", "response/length",
                            "val/explained_variance"};
  return kind == "ppo" ? ppo : kind == "reward" ? reward : kind == "sft" ? sft : pretrain;
}

Result<Gate> parse_gate(std::string_view text, const std::vector<GateStage>& before) {
  const std::optional<Sides> sides = split(text);
  if (!sides)
    return refused(
        fmt::format("which is no comparison by >=, >, <=, < or ==; allowed: {}", kShape));
  const std::optional<double> bound = finite_number(sides->right);
  if (!bound) {
    return refused(fmt::format("which compares with no number ({}); allowed: {}",
                               in_quotes(sides->right), kShape));
  }
  if (before.empty()) {
    return refused("but no stage is done before this one; allowed: no gate");
  }
  // A stage's name may have dots, a metric has none.
  const std::size_t dot = sides->left.rfind('.');
  const std::string_view stage_name = sides->left.substr(0, dot);
  Names names;
  for (const GateStage& each : before) names.push_back(each.name);
  const auto whole = std::find(names.begin(), names.end(), sides->left);
  const auto at = whole != names.end() ? whole : std::find(names.begin(), names.end(), stage_name);
  if (at == names.end()) {
    return refused(fmt::format("and {} is no stage that is done before{}; allowed: {}",
                               in_quotes(stage_name), did_you_mean(stage_name, names),
                               join_or(names)));
  }
  const GateStage& stage = before[static_cast<std::size_t>(at - names.begin())];
  if (whole != names.end()) {
    return refused(
        fmt::format("which names no metric of {}; allowed: {}", stage.name, metrics_of(stage)));
  }
  const std::string metric(sides->left.substr(dot + 1));
  const Names& known = stage_metrics(stage.kind);
  if (std::find(known.begin(), known.end(), metric) == known.end()) {
    return refused(fmt::format("but {} ({}) reports no {}{}; allowed: {}", stage.name, stage.kind,
                               in_quotes(metric), did_you_mean(metric, known), metrics_of(stage)));
  }
  return Gate{stage.name, metric, sides->comparison, *bound};
}

std::string describe(const Gate& gate) {
  return fmt::format("{}.{} {} {}", gate.stage, gate.metric, sign(gate.comparison), gate.bound);
}

bool holds(const Gate& gate, double value) {
  switch (gate.comparison) {
    case Comparison::kAtLeast:
      return value >= gate.bound;
    case Comparison::kAbove:
      return value > gate.bound;
    case Comparison::kAtMost:
      return value <= gate.bound;
    case Comparison::kBelow:
      return value < gate.bound;
    case Comparison::kEqual:
      return value == gate.bound;
  }
  return false;
}

std::string gate_fault(const Gate& gate, const std::map<std::string, double>& metrics) {
  const auto found = metrics.find(gate.metric);
  if (found == metrics.end()) {
    return fmt::format(
        "gate {} cannot be judged: stage {} handed on no {} (not measured, or not a number)",
        describe(gate), gate.stage, gate.metric);
  }
  if (holds(gate, found->second)) return "";
  return fmt::format("gate {} does not hold: {}", describe(gate), measured(gate, found->second));
}

}  // namespace talaria::launch
