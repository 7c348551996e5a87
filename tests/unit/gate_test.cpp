// SPDX-License-Identifier: Apache-2.0
// Gates as text: what they compare, and what is refused how.
#include "launch/gate.h"

#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/rl_metrics.h"

namespace talaria::launch {
namespace {

const std::vector<GateStage> kBefore = {
    {"base", "pretrain"}, {"sft-1.5", "sft"}, {"reward", "reward"}, {"ppo", "ppo"}};

TEST(Gate, IsAStagesMetricComparedWithANumber) {
  struct Row {
    const char* text;
    Gate gate;
    const char* described;
  };
  using C = Comparison;
  const Row rows[] = {
      {"reward.accuracy >= 0.6",
       {"reward", "accuracy", C::kAtLeast, 0.6},
       "reward.accuracy >= 0.6"},
      {"reward.accuracy>=.6", {"reward", "accuracy", C::kAtLeast, 0.6}, "reward.accuracy >= 0.6"},
      {"  reward.margin\t> -1e-3 ",
       {"reward", "margin", C::kAbove, -1e-3},
       "reward.margin > -0.001"},
      {"base.validation_loss<3",
       {"base", "validation_loss", C::kBelow, 3},
       "base.validation_loss < 3"},
      {"sft-1.5.loss <= 2.50", {"sft-1.5", "loss", C::kAtMost, 2.5}, "sft-1.5.loss <= 2.5"},
      {"ppo.val/ratio == 1", {"ppo", "val/ratio", C::kEqual, 1}, "ppo.val/ratio == 1"},
  };
  for (const Row& row : rows) {
    const Result<Gate> gate = parse_gate(row.text, kBefore);
    ASSERT_TRUE(gate) << row.text << ": " << gate.error();
    EXPECT_TRUE(gate.value() == row.gate) << row.text;
    EXPECT_EQ(describe(gate.value()), row.described);
    EXPECT_TRUE(parse_gate(row.described, kBefore).value() == row.gate) << row.described;
  }
}

TEST(Gate, EveryKindsMetricsMayBeAskedFor) {
  for (const GateStage& stage : kBefore) {
    EXPECT_FALSE(key_metrics(stage.kind).empty());
    for (const std::vector<std::string>* names :
         {&stage_metrics(stage.kind), &key_metrics(stage.kind)}) {
      for (const std::string& metric : *names) {
        const Result<Gate> gate = parse_gate(stage.name + "." + metric + " > 0", kBefore);
        EXPECT_TRUE(gate) << gate.error();
      }
    }
  }
}

TEST(Gate, EveryMetricOfPpoMayBeAskedFor) {
  const std::vector<std::string>& known = stage_metrics("ppo");
  for (const std::string_view name : worker::metric::kPpoMetrics) {
    EXPECT_THAT(known, testing::Contains(name));
  }
}

TEST(Gate, WhatIsNoneIsRefusedSayingWhatIsAllowed) {
  const std::string shape =
      "allowed: STAGE.METRIC OP NUMBER, for example \"reward.accuracy >= 0.6\"";
  const std::string rewards =
      "allowed: reward.accuracy, reward.margin, reward.calibration_error, "
      "reward.training_accuracy, reward.loss, "
      "reward.validation_loss, reward.grad_norm, reward.learning_rate, reward.tokens, "
      "reward.step_seconds, reward.mfu or reward.tokens_per_second";
  struct Row {
    const char* text;
    std::string message;
  };
  const Row rows[] = {
      {"", "which is no comparison by >=, >, <=, < or ==; " + shape},
      {"reward.accuracy", "which is no comparison by >=, >, <=, < or ==; " + shape},
      {"reward.accuracy = 0.6", "which is no comparison by >=, >, <=, < or ==; " + shape},
      {"reward.accuracy => 0.6", "which is no comparison by >=, >, <=, < or ==; " + shape},
      {"reward.accuracy != 0.6", "which is no comparison by >=, >, <=, < or ==; " + shape},
      {"reward.accuracy >=", "which compares with no number (\"\"); " + shape},
      {"reward.accuracy >= much", "which compares with no number (\"much\"); " + shape},
      {"reward.accuracy >= 0.6x", "which compares with no number (\"0.6x\"); " + shape},
      {"reward.accuracy >= nan", "which compares with no number (\"nan\"); " + shape},
      {"reward.accuracy >= 1e999", "which compares with no number (\"1e999\"); " + shape},
      {"0.6 < reward.accuracy", "which compares with no number (\"reward.accuracy\"); " + shape},
      {"0 < reward.accuracy < 1",
       "which compares with no number (\"reward.accuracy < 1\"); " + shape},
      {"rewards.accuracy >= 0.6",
       "and \"rewards\" is no stage that is done before, did you mean reward?; allowed: base, "
       "sft-1.5, reward or ppo"},
      {"accuracy >= 0.6",
       "and \"accuracy\" is no stage that is done before; allowed: base, sft-1.5, reward or ppo"},
      {"reward >= 0.6", "which names no metric of reward; " + rewards},
      {"reward. >= 0.6", "but reward (reward) reports no \"\"; " + rewards},
      {"reward.acuracy >= 0.6",
       "but reward (reward) reports no \"acuracy\", did you mean accuracy?; " + rewards},
      {"reward.validation_bits_per_byte > 1",
       "but reward (reward) reports no \"validation_bits_per_byte\"; " + rewards},
  };
  for (const Row& row : rows) {
    const Result<Gate> gate = parse_gate(row.text, kBefore);
    ASSERT_FALSE(gate) << row.text;
    EXPECT_EQ(gate.error(), row.message) << row.text;
  }
  EXPECT_EQ(parse_gate("reward.accuracy >= 0.6", {}).error(),
            "but no stage is done before this one; allowed: no gate");
}

TEST(Gate, HoldsAsItsSignSays) {
  struct Row {
    Comparison comparison;
    bool below;
    bool equal;
    bool above;
  };
  using C = Comparison;
  for (const Row& row : {Row{C::kAtLeast, false, true, true}, Row{C::kAbove, false, false, true},
                         Row{C::kAtMost, true, true, false}, Row{C::kBelow, true, false, false},
                         Row{C::kEqual, false, true, false}}) {
    const Gate gate{"reward", "accuracy", row.comparison, 0.5};
    EXPECT_EQ(holds(gate, 0.4), row.below) << describe(gate);
    EXPECT_EQ(holds(gate, 0.5), row.equal) << describe(gate);
    EXPECT_EQ(holds(gate, 0.6), row.above) << describe(gate);
    EXPECT_FALSE(holds(gate, std::nan(""))) << describe(gate);
  }
}

TEST(Gate, AFaultSaysWhatWasMeasured) {
  const Gate gate{"reward", "accuracy", Comparison::kAtLeast, 0.6};
  EXPECT_EQ(gate_fault(gate, {{"accuracy", 0.6}}), "");
  EXPECT_EQ(gate_fault(gate, {{"accuracy", 0.546875}}),
            "gate reward.accuracy >= 0.6 does not hold: 0.5469");
  EXPECT_EQ(gate_fault(gate, {{"accuracy", 0.59999999}}),
            "gate reward.accuracy >= 0.6 does not hold: 0.59999999")
      << "rounded it would seem to hold";
  EXPECT_EQ(gate_fault(gate, {{"loss", 1.0}}),
            "gate reward.accuracy >= 0.6 cannot be judged: stage reward handed on no accuracy (not "
            "measured, or not a number)");
}

}  // namespace
}  // namespace talaria::launch
