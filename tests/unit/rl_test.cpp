// SPDX-License-Identifier: Apache-2.0
// The arithmetic of reward models and PPO against golden vectors that know nothing of it
// (golden/make_rl_golden.py), and what they cannot say: ties, extremes, derivatives by differences.
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "cluster/base/thread_pool.h"
#include "model/learning_rate.h"
#include "model/rl/advantages.h"
#include "model/rl/ema.h"
#include "model/rl/kl_controller.h"
#include "model/rl/pairwise.h"
#include "model/rl/ppo_loss.h"

namespace talaria::model {
namespace {

namespace json = boost::json;
using Numbers = std::vector<double>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const std::string kFolder = std::string(TALARIA_SOURCE_DIR) + "/tests/unit/golden/";

const json::array& golden(const char* section) {
  static const json::value all = json::parse(read_file(kFolder + "rl.json"));
  const json::array& cases = all.as_object().at(section).as_array();
  EXPECT_GT(cases.size(), 0U);
  return cases;
}

// "0.5 -1e-3" as the nearest doubles.
Numbers parse_numbers(std::string_view text) {
  Numbers result;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    double value = 0.0;
    const auto [stop, error] = std::from_chars(at, end, value);
    EXPECT_EQ(error, std::errc()) << text;
    if (error != std::errc()) break;
    result.push_back(value);
    at = stop + 1;
  }
  return result;
}

Numbers numbers(const json::value& record, const char* key) {
  return parse_numbers(record.at(key).as_string());
}

double number(const json::value& record, const char* key) {
  const Numbers all = numbers(record, key);
  EXPECT_EQ(all.size(), 1U) << key;
  return all.at(0);
}

void expect_near(double actual, double expected, const json::value& record) {
  EXPECT_LE(std::fabs(actual - expected), 1e-12 * std::fabs(expected))
      << actual << " instead of " << expected << " in " << json::serialize(record);
}

void expect_near(const Numbers& actual, const Numbers& expected, const json::value& record) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) expect_near(actual[i], expected[i], record);
}

TEST(RlGolden, IsWhatTheScriptWrites) {
  if (std::system("python3 -c 'import decimal' 2>/dev/null") != 0) {
    GTEST_SKIP() << "no python3: rl.json is not made again";
  }
  const std::string made = testing::TempDir() + "/rl_golden." + std::to_string(getpid());
  ASSERT_EQ(std::system(("python3 '" + kFolder + "make_rl_golden.py' '" + made + "'").c_str()), 0);
  EXPECT_TRUE(read_file(made) == read_file(kFolder + "rl.json")) << "run make_rl_golden.py";
  std::filesystem::remove(made);
}

TEST(Advantages, Golden) {
  for (const json::value& record : golden("advantages")) {
    const Numbers rewards = numbers(record, "rewards");
    Numbers advantages(rewards.size());
    Numbers returns(rewards.size());
    estimate_advantages(rewards, numbers(record, "values"), number(record, "gamma"),
                        number(record, "lambda"), advantages, returns);
    expect_near(advantages, numbers(record, "advantages"), record);
    expect_near(returns, numbers(record, "returns"), record);
  }
}

TEST(PenalisedRewards, Golden) {
  for (const json::value& record : golden("rewards")) {
    Numbers rewards(numbers(record, "rewards").size(), kNan);
    penalised_rewards(numbers(record, "logprobs"), numbers(record, "reference"),
                      number(record, "beta"), number(record, "score"), rewards);
    expect_near(rewards, numbers(record, "rewards"), record);
  }
}

TEST(Whiten, Golden) {
  for (const json::value& record : golden("whiten")) {
    Numbers shifted = numbers(record, "x");
    Numbers kept = shifted;
    whiten(shifted, true);
    whiten(kept, false);
    expect_near(shifted, numbers(record, "shifted"), record);
    expect_near(kept, numbers(record, "kept"), record);
  }
}

TEST(Whiten, EqualElements) {
  Numbers x = {0.1, 0.1, 0.1};
  whiten(x, false);
  EXPECT_EQ(x, Numbers({0.1, 0.1, 0.1}));
  whiten(x, true);
  EXPECT_EQ(x, Numbers({0.0, 0.0, 0.0}));
}

TEST(ExplainedVariance, Golden) {
  for (const json::value& record : golden("explained_variance")) {
    expect_near(explained_variance(numbers(record, "values"), numbers(record, "returns")),
                number(record, "expected"), record);
  }
}

TEST(ExplainedVariance, OfReturnsThatDoNotVaryIsUnknown) {
  EXPECT_TRUE(std::isnan(explained_variance(Numbers{1.0, 2.0, 3.0}, Numbers{0.1, 0.1, 0.1})));
  EXPECT_TRUE(std::isnan(explained_variance(Numbers{}, Numbers{})));
  EXPECT_EQ(explained_variance(Numbers{0.1, 0.7, 0.2}, Numbers{0.1, 0.7, 0.2}), 1.0);
  // A constant offset explains everything: only differences count.
  EXPECT_EQ(explained_variance(Numbers{1.0, 2.0, 3.0}, Numbers{2.0, 3.0, 4.0}), 1.0);
}

TEST(PolicyTerm, Golden) {
  int clipped = 0;
  for (const json::value& record : golden("policy")) {
    const double logprob = number(record, "logprob");
    const double old = number(record, "old");
    const PolicyTerm term =
        policy_term(logprob, old, number(record, "advantage"), number(record, "clip"));
    expect_near(term.loss, number(record, "loss"), record);
    expect_near(term.d_logprob, number(record, "derivative"), record);
    expect_near(term.ratio, number(record, "ratio"), record);
    expect_near(approximate_kl(logprob, old), number(record, "approximate_kl"), record);
    EXPECT_EQ(term.clipped, record.at("clipped").as_bool()) << json::serialize(record);
    clipped += term.clipped ? 1 : 0;
  }
  EXPECT_GT(clipped, 0);
  EXPECT_LT(clipped, static_cast<int>(golden("policy").size()));
}

TEST(PolicyTerm, DerivativeIsTheCentralDifference) {
  constexpr double kStep = 1e-6;
  for (const double advantage : {-2.0, -0.3, 0.4, 1.5}) {
    for (double move = -0.6; move < 0.6; move += 0.0371) {
      const auto at = [&](double x) { return policy_term(x, -2.0, advantage, 0.2); };
      const double difference =
          (at(-2.0 + move + kStep).loss - at(-2.0 + move - kStep).loss) / (2.0 * kStep);
      EXPECT_NEAR(at(-2.0 + move).d_logprob, difference, 1e-8) << advantage << " " << move;
    }
  }
}

TEST(PolicyTerm, AtATieTheUnclippedTermCounts) {
  // clip 0: a ratio of 1 lies on both ends of the interval.
  const PolicyTerm term = policy_term(-1.0, -1.0, 2.0, 0.0);
  EXPECT_FALSE(term.clipped);
  EXPECT_EQ(term.loss, -2.0);
  EXPECT_EQ(term.d_logprob, -2.0);
}

TEST(PolicyTerm, LargeDifferencesGiveNoNan) {
  for (const double difference : {800.0, kInfinity}) {
    const PolicyTerm good = policy_term(difference, 0.0, 1.5, 0.2);
    EXPECT_EQ(good.ratio, kInfinity);
    EXPECT_EQ(good.loss, -1.5 * 1.2);
    EXPECT_EQ(good.d_logprob, 0.0);
    EXPECT_TRUE(good.clipped);
    const PolicyTerm bad = policy_term(difference, 0.0, -1.5, 0.2);
    EXPECT_EQ(bad.loss, kInfinity);
    EXPECT_EQ(bad.d_logprob, kInfinity);
    EXPECT_FALSE(bad.clipped);
    const PolicyTerm none = policy_term(difference, 0.0, 0.0, 0.2);
    EXPECT_EQ(none.loss, 0.0);
    EXPECT_EQ(none.d_logprob, 0.0);
    EXPECT_EQ(none.ratio, kInfinity);
  }
  const PolicyTerm gone = policy_term(-800.0, 0.0, 1.5, 0.2);
  EXPECT_EQ(gone.ratio, 0.0);
  EXPECT_EQ(gone.loss, 0.0);
  EXPECT_EQ(gone.d_logprob, 0.0);
  EXPECT_EQ(policy_term(-800.0, 0.0, -1.5, 0.2).loss, 1.5 * 0.8);
  // A NaN is never hidden, not even by an advantage of 0.
  EXPECT_TRUE(std::isnan(policy_term(kNan, 0.0, 1.0, 0.2).loss));
  EXPECT_TRUE(std::isnan(policy_term(kNan, 0.0, 0.0, 0.2).loss));
  EXPECT_TRUE(std::isnan(policy_term(-1.0, -1.0, kNan, 0.2).loss));
}

TEST(ValueTerm, Golden) {
  int clipped = 0;
  for (const json::value& record : golden("value")) {
    const ValueTerm term = value_term(number(record, "value"), number(record, "old"),
                                      number(record, "target"), number(record, "clip"));
    expect_near(term.loss, number(record, "loss"), record);
    expect_near(term.d_value, number(record, "derivative"), record);
    EXPECT_EQ(term.clipped, record.at("clipped").as_bool()) << json::serialize(record);
    clipped += term.clipped ? 1 : 0;
  }
  EXPECT_GT(clipped, 0);
  EXPECT_LT(clipped, static_cast<int>(golden("value").size()));
}

TEST(ValueTerm, DerivativeIsTheCentralDifference) {
  constexpr double kStep = 1e-6;
  for (const double target : {-1.0, 0.13, 0.9}) {
    for (double value = -0.7; value < 1.0; value += 0.0373) {
      const auto at = [&](double v) { return value_term(v, 0.05, target, 0.2); };
      const double difference = (at(value + kStep).loss - at(value - kStep).loss) / (2.0 * kStep);
      EXPECT_NEAR(at(value).d_value, difference, 1e-8) << target << " " << value;
    }
  }
}

TEST(ValueTerm, Ties) {
  // On the end of the interval.
  EXPECT_EQ(value_term(0.75, 0.5, 2.0, 0.25).d_value, -1.25);
  EXPECT_FALSE(value_term(0.75, 0.5, 2.0, 0.25).clipped);
  // Outside of it, the target midway between value (1) and clipped value (0.25).
  const ValueTerm midway = value_term(1.0, 0.0, 0.625, 0.25);
  EXPECT_FALSE(midway.clipped);
  EXPECT_EQ(midway.d_value, 0.375);
  EXPECT_EQ(value_term(5.0, 0.0, 1.0, kInfinity).loss, 8.0);
  EXPECT_TRUE(std::isnan(value_term(kNan, 0.0, 1.0, 0.2).loss));
}

TEST(ValueTerm, InsideTheIntervalRoundingClipsNothing) {
  for (int i = 1; i < 2000; ++i) {
    const double old = 0.1 * std::sin(i);
    const double value = 0.1 * std::cos(i);
    EXPECT_FALSE(value_term(value, old, -1.0, 0.2).clipped) << value << " " << old;
    EXPECT_FALSE(value_term(value, old, 1.0, 0.2).clipped) << value << " " << old;
  }
}

TEST(KlController, Golden) {
  for (const json::value& record : golden("kl_controller")) {
    const KlController controller{record.at("adaptive").as_bool(), number(record, "target"),
                                  number(record, "horizon")};
    double beta = number(record, "beta");
    Numbers betas;
    for (const double kl : numbers(record, "kl")) {
      beta = controller.next(beta, kl, record.at("episodes").as_int64());
      betas.push_back(beta);
    }
    expect_near(betas, numbers(record, "betas"), record);
  }
}

TEST(KlController, ClipsInfinityAndHidesNoNan) {
  const KlController controller{true, 6.0, 1000.0};
  EXPECT_DOUBLE_EQ(controller.next(0.1, kInfinity, 100), 0.1 * 1.02);
  EXPECT_DOUBLE_EQ(controller.next(0.1, -kInfinity, 100), 0.1 * 0.98);
  EXPECT_TRUE(std::isnan(controller.next(0.1, kNan, 100)));
}

TEST(PairwiseLoss, Golden) {
  for (const json::value& record : golden("pairwise")) {
    const Numbers rewards = numbers(record, "rewards");
    const auto ranks = json::value_to<std::vector<std::int32_t>>(record.at("ranks"));
    Numbers slopes(rewards.size(), kNan);
    const PairwiseResult result = pairwise_loss(rewards, ranks, slopes);
    expect_near(result.loss, number(record, "loss"), record);
    expect_near(slopes, numbers(record, "derivatives"), record);
    expect_near(result.margin, number(record, "margin"), record);
    EXPECT_EQ(result.pairs, record.at("pairs").as_int64());
    EXPECT_EQ(result.correct, record.at("correct").as_int64());
  }
}

TEST(PairwiseLoss, ExtremeMarginsStayFinite) {
  const std::array<std::int32_t, 2> ranks = {1, 2};
  std::array<double, 2> slopes = {};
  PairwiseResult result = pairwise_loss(Numbers{-1e300, 1e300}, ranks, slopes);
  EXPECT_EQ(result.loss, 2e300);
  EXPECT_EQ(slopes, (std::array<double, 2>{-1.0, 1.0}));
  result = pairwise_loss(Numbers{1e300, -1e300}, ranks, slopes);
  EXPECT_EQ(result.loss, 0.0);
  EXPECT_EQ(slopes[0], 0.0);
  // Equal rewards are no correct answer.
  result = pairwise_loss(Numbers{0.5, 0.5}, ranks, slopes);
  EXPECT_EQ(result.correct, 0);
  EXPECT_DOUBLE_EQ(result.loss, std::log(2.0));
  // Where exp(-margin) is below the rounding of 1, the loss is still that and not 0.
  result = pairwise_loss(Numbers{50.0, 0.0}, ranks, slopes);
  EXPECT_DOUBLE_EQ(result.loss, std::exp(-50.0));
  EXPECT_DOUBLE_EQ(slopes[1], std::exp(-50.0));
  EXPECT_TRUE(std::isnan(pairwise_loss(Numbers{kNan, 0.0}, ranks, slopes).loss));
}

TEST(LearningRate, Golden) {
  for (const json::value& record : golden("learning_rate")) {
    const LearningRateSchedule schedule{number(record, "peak"), number(record, "minimum"),
                                        record.at("warmup").as_int64(), record.at("end").as_int64(),
                                        std::string(record.at("decay").as_string())};
    const Numbers expected = numbers(record, "rates");
    Numbers rates;
    for (std::size_t step = 0; step < expected.size(); ++step) {
      rates.push_back(learning_rate(schedule, static_cast<std::int64_t>(step)));
    }
    expect_near(rates, expected, record);
  }
}

std::vector<float> to_f32(const Numbers& values) {
  std::vector<float> result;
  for (const double value : values) {
    result.push_back(static_cast<float>(value));
    EXPECT_EQ(static_cast<double>(result.back()), value);
  }
  return result;
}

TEST(Average, GoldenBitForBitAndNearThePaper) {
  ThreadPool pool(1);
  for (const json::value& record : golden("average")) {
    std::vector<float> average = to_f32(numbers(record, "start"));
    for (const json::value& row : record.at("weights").as_array()) {
      update_average(pool, average, to_f32(parse_numbers(row.as_string())),
                     number(record, "decay"));
    }
    EXPECT_EQ(average, to_f32(numbers(record, "f32")));
    const Numbers ideal = numbers(record, "ideal");
    for (std::size_t i = 0; i < ideal.size(); ++i) EXPECT_NEAR(average[i], ideal[i], 1e-6);
  }
}

TEST(Average, ThreadsAndCutsDoNotShow) {
  constexpr std::size_t kCount = 300007;
  std::vector<float> weights(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    weights[i] = std::sin(static_cast<float>(i));
  }
  const std::vector<float> start(weights.rbegin(), weights.rend());
  std::vector<float> one = start;
  std::vector<float> three = start;
  std::vector<float> cut = start;
  ThreadPool single(1);
  ThreadPool team(3);
  update_average(single, one, weights, 0.992);
  update_average(team, three, weights, 0.992);
  const std::span<const float> all(weights);
  update_average(team, std::span(cut).first(100001), all.first(100001), 0.992);
  update_average(team, std::span(cut).subspan(100001), all.subspan(100001), 0.992);
  EXPECT_EQ(one, three);
  EXPECT_EQ(one, cut);
  EXPECT_NE(one, start);
  update_average(team, three, one, 0.992);
  EXPECT_EQ(one, three);  // equal weights: the same bits
}

}  // namespace
}  // namespace talaria::model
