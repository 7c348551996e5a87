// SPDX-License-Identifier: Apache-2.0
// What a reward model's numbers say about comparisons, on small cases counted by hand: loss and its
// derivative, accuracy, calibration; a reward that is no number is never counted as a right one.
#include "worker/preference.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace talaria::worker {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

double softplus(double x) { return std::log1p(std::exp(x)); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Two comparisons of one row: a pair at tokens 1 and 3, and four answers at 4 to 7, two of a rank.
RowComparisons two_comparisons() {
  return {{{{1}, {3}}, {{4}, {5}, {6}, {7}}}, {{1, 0}, {0, 1, 1, 2}}};
}
constexpr float kValues[] = {9.0F, 0.5F, 9.0F, 2.0F, 1.0F, 3.0F, 0.0F, -1.0F};

TEST(PairwiseObjective, TheLossIsTheMeanOverTheComparisonsOfTheMeanOverTheirPairs) {
  const std::vector<RowComparisons> rows = {{}, two_comparisons()};
  PairwiseObjective objective(rows, 3.0);
  std::vector<float> d(8, 7.0F);
  const double first = softplus(-(2.0 - 0.5));
  const double second = (softplus(-(1.0 - 3.0)) + softplus(-(1.0 - 0.0)) + softplus(-(1.0 + 1.0)) +
                         softplus(-(3.0 + 1.0)) + softplus(-(0.0 + 1.0))) /
                        5.0;  // six pairs, of which one ties
  EXPECT_NEAR(objective.evaluate(1, kValues, d), first + second, 1e-12);
  // Only the tokens where a reward is read have a derivative: d loss / d value, / 3.
  EXPECT_EQ(d[0], 0.0F);
  EXPECT_EQ(d[2], 0.0F);
  EXPECT_NEAR(d[1], sigmoid(-1.5) / 3.0, 1e-7);
  EXPECT_NEAR(d[3], -sigmoid(-1.5) / 3.0, 1e-7);
  EXPECT_NEAR(d[4], -(sigmoid(2.0) + sigmoid(-1.0) + sigmoid(-2.0)) / 5.0 / 3.0, 1e-7);
  EXPECT_NEAR(d[7], (sigmoid(-2.0) + sigmoid(-4.0) + sigmoid(-1.0)) / 5.0 / 3.0, 1e-7);
  double sum = 0.0;
  for (const float each : d) sum += static_cast<double>(each);
  EXPECT_NEAR(sum, 0.0, 1e-7) << "a shift of all rewards changes nothing";
  EXPECT_EQ(objective.evaluate(0, kValues, d), 0.0) << "a row without comparisons";
  for (const float each : d) EXPECT_EQ(each, 0.0F);
}

TEST(PairwiseObjective, AValueThatIsNoNumberMakesTheLossNone) {
  const std::vector<RowComparisons> rows = {two_comparisons()};
  PairwiseObjective objective(rows, 1.0);
  std::vector<float> values(std::begin(kValues), std::end(kValues));
  std::vector<float> d(8);
  values[1] = kNan;
  EXPECT_TRUE(std::isnan(objective.evaluate(0, values, d)));
  values[1] = 0.5F;
  values[0] = kNan;  // no reward is read here
  EXPECT_TRUE(std::isfinite(objective.evaluate(0, values, d)));
}

TEST(PreferenceCounter, CountsPairsAndDropsTies) {
  PreferenceCounter counter;
  counter.add(two_comparisons(), kValues);
  // Right: 2 > 0.5; 1 > 0, 1 > -1, 3 > -1, 0 > -1. Wrong: 1 < 3.
  EXPECT_DOUBLE_EQ(counter.accuracy(), 5.0 / 6.0);
  EXPECT_NEAR(counter.metrics().at("margin"), (1.5 - 2.0 + 1.0 + 2.0 + 4.0 + 1.0) / 6.0, 1e-12);
  const double first = softplus(-1.5);
  const double second =
      (softplus(2.0) + softplus(-1.0) + softplus(-2.0) + softplus(-4.0) + softplus(-1.0)) / 5.0;
  EXPECT_NEAR(counter.loss(), (first + second) / 2.0, 1e-12);
}

TEST(PreferenceCounter, CalibrationIsByTheProbabilityOfThePreferredAnswer) {
  PreferenceCounter counter;
  counter.add(two_comparisons(), kValues);
  // Differences 1, 1 (0.731), 1.5 (0.818), 2, -2 (0.881) and 4 (0.982).
  const auto metrics = counter.metrics();
  EXPECT_EQ(metrics.at("calibration/0.5_pairs"), 0.0);
  EXPECT_EQ(metrics.count("calibration/0.5_accuracy"), 0U) << "no pairs, no share";
  EXPECT_EQ(metrics.at("calibration/0.7_pairs"), 2.0);
  EXPECT_EQ(metrics.at("calibration/0.7_accuracy"), 1.0);
  EXPECT_NEAR(metrics.at("calibration/0.7_probability"), sigmoid(1.0), 1e-12);
  EXPECT_EQ(metrics.at("calibration/0.8_pairs"), 3.0);
  EXPECT_NEAR(metrics.at("calibration/0.8_accuracy"), 2.0 / 3.0, 1e-12);
  EXPECT_EQ(metrics.at("calibration/0.9_pairs"), 1.0);
  const double error = std::abs(2.0 - 2.0 * sigmoid(1.0)) +
                       std::abs(2.0 - sigmoid(1.5) - 2.0 * sigmoid(2.0)) +
                       std::abs(1.0 - sigmoid(4.0));
  EXPECT_NEAR(metrics.at("calibration_error"), error / 6.0, 1e-12);
}

TEST(PreferenceCounter, EqualRewardsAreNoSuccess) {
  PreferenceCounter counter;
  const float values[] = {1.0F, 1.0F};
  counter.add({{{{0}, {1}}}, {{0, 1}}}, values);
  EXPECT_EQ(counter.accuracy(), 0.0);
  EXPECT_EQ(counter.metrics().at("calibration/0.5_pairs"), 1.0);
}

TEST(PreferenceCounter, HugeDifferencesStayInTheLastBin) {
  PreferenceCounter counter;
  const float values[] = {3e38F, -3e38F};
  counter.add({{{{0}, {1}}}, {{0, 1}}}, values);
  EXPECT_EQ(counter.metrics().at("calibration/0.9_pairs"), 1.0);
  EXPECT_EQ(counter.loss(), 0.0);
}

TEST(PreferenceCounter, ARewardThatIsNoNumberIsCountedAsSuch) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> values(std::begin(kValues), std::end(kValues));
    values[6] = bad;
    PreferenceCounter counter;
    counter.add(two_comparisons(), values);
    EXPECT_EQ(counter.metrics().at("nonfinite"), 1.0);
    EXPECT_EQ(counter.accuracy(), 1.0) << "of the comparison that has rewards";
    EXPECT_TRUE(std::isnan(counter.loss())) << "so that this is never the best checkpoint";
  }
  PreferenceCounter none;
  EXPECT_TRUE(std::isnan(none.accuracy()));
  EXPECT_TRUE(std::isnan(none.loss()));
  EXPECT_EQ(none.metrics().count("nonfinite"), 0U);
}

}  // namespace
}  // namespace talaria::worker
