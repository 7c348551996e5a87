// SPDX-License-Identifier: Apache-2.0
// PPO between the models: where an episode's tokens lie in its row, the losses and their
// derivatives, advantages, and the numbers of docs/metrics.md on cases computed by hand.
#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/rl/ppo_loss.h"
#include "tests/support/ppo_fixtures.h"
#include "worker/ppo/objectives.h"
#include "worker/rl_metrics.h"

namespace talaria::worker {
namespace {

using testing::ElementsAre;

TEST(Episodes, ATokenIsDecidedOnePlaceBeforeItStands) {
  Episode episode;
  episode.prompt = {5, 6, 7};
  episode.response = {8, 9};
  const storage::Row row = episode_row(episode, 8, 0);
  EXPECT_THAT(row.inputs, ElementsAre(5, 6, 7, 8, 9, 0, 0, 0));
  EXPECT_THAT(row.targets, ElementsAre(6, 7, 8, 9, 0, 0, 0, 0));
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 0, 0, 5, 6, 7));
  EXPECT_THAT(row.weights, ElementsAre(0, 0, 1, 1, 0, 0, 0, 0));
  const std::vector<float> numbers = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(at_actions(episode, numbers), ElementsAre(2, 3));
  for (std::size_t t = 0; t < episode.tokens(); ++t) {
    EXPECT_EQ(row.targets[episode.first_action() + t], episode.response[t]);
  }
}

TEST(Episodes, ARowMayBeFullAndNoFuller) {
  Episode episode;
  episode.prompt = {5};
  episode.response = {8, 9, 10};
  const storage::Row row = episode_row(episode, 4, 0);
  EXPECT_THAT(row.inputs, ElementsAre(5, 8, 9, 10));
  EXPECT_THAT(row.targets, ElementsAre(8, 9, 10, 0));
  EXPECT_THAT(row.weights, ElementsAre(1, 1, 1, 0));
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 0));
  EXPECT_DEATH(episode_row(episode, 3, 0), "4 ids in a row of 3");
}

Experience one_token(double old_logprob, double advantage) {
  Experience made;
  made.episode.prompt = {1, 2};
  made.episode.response = {3};
  made.logprobs = {old_logprob};
  made.advantages = {advantage};
  return made;
}

struct Evaluated {
  std::vector<float> losses, d_nll, d_entropy;
};

Evaluated evaluate(PolicyObjective& objective, const std::vector<float>& nll,
                   const std::vector<float>& entropy, std::size_t first = 0) {
  // What the head had there before must not show.
  Evaluated out{std::vector<float>(nll.size(), 9.0F), std::vector<float>(nll.size(), 9.0F),
                std::vector<float>(entropy.size(), 9.0F)};
  objective.evaluate({static_cast<std::int64_t>(first), static_cast<std::int64_t>(nll.size())}, nll,
                     entropy, out.losses, out.d_nll, out.d_entropy);
  return out;
}

TEST(PolicyObjective, ByHand) {
  // exp(0.2) is beyond 1.2: with a good token that is clipped, with a bad one it is not.
  const Experience good = one_token(-1.2, 1.0);
  const Experience bad = one_token(-1.2, -1.0);
  const std::vector<const Experience*> rows = {&good, nullptr, &bad};
  PolicyObjective objective(rows, 3, 0.25, {.clip = 0.2, .divisor = 2.0});
  EXPECT_FALSE(objective.uses_entropy());
  const Evaluated found = evaluate(objective, std::vector<float>(9, 1.0F), {});
  const float ratio = std::exp(0.2F);
  EXPECT_THAT(found.losses,
              testing::Pointwise(testing::FloatEq(), std::vector<float>{0, -1.2F, 0, 0.25F, 0.25F,
                                                                        0.25F, 0, ratio, 0}));
  EXPECT_THAT(found.d_nll,
              testing::Pointwise(testing::FloatEq(), std::vector<float>{0, 0, 0, 0.125F, 0.125F,
                                                                        0.125F, 0, -ratio / 2, 0}));
}

class WithExperience : public testing::Test {
 protected:
  static constexpr std::int64_t kLength = 10;
  static constexpr std::int64_t kVocab = 20;

  WithExperience() {
    all_ = made_up_experiences(4, kVocab, {}, 0.1);
    rows_ = {&all_[0], &all_[1], nullptr, &all_[2], &all_[3], nullptr};
    for (std::int64_t i = 0; i < kLength * 6; ++i) {
      nll_.push_back(static_cast<float>(3.0 + 0.4 * std::cos(0.7 * static_cast<double>(i))));
      entropy_.push_back(static_cast<float>(2.0 + std::sin(static_cast<double>(i))));
    }
  }
  PolicyLoss loss_ = {.clip = 0.2, .entropy_coefficient = 0.03, .divisor = 7.0};
  std::vector<Experience> all_;
  std::vector<const Experience*> rows_;
  std::vector<float> nll_, entropy_;
};

using PolicyObjectiveOf = WithExperience;
using ValueObjectiveOf = WithExperience;

TEST_F(PolicyObjectiveOf, TokensAreTheTermsOfPpoAndPromptsAreNothing) {
  PolicyObjective objective(rows_, kLength, 0.25, loss_);
  EXPECT_TRUE(objective.uses_entropy());
  const Evaluated found = evaluate(objective, nll_, entropy_);
  int clipped = 0;
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    for (std::size_t t = 0; t < static_cast<std::size_t>(kLength); ++t) {
      const std::size_t at = row * static_cast<std::size_t>(kLength) + t;
      double loss = 0.25 * nll_[at];
      double d_nll = 0.25 / 7.0;
      double d_entropy = 0.0;
      if (rows_[row] != nullptr) {
        const Experience& each = *rows_[row];
        const std::size_t first = each.episode.prompt.size() - 1;
        loss = d_nll = 0.0;
        if (t >= first && t < first + each.episode.response.size()) {
          const model::PolicyTerm term =
              model::policy_term(-static_cast<double>(nll_[at]), each.logprobs[t - first],
                                 each.advantages[t - first], 0.2);
          loss = term.loss - 0.03 * entropy_[at];
          d_nll = -term.d_logprob / 7.0;
          d_entropy = -0.03 / 7.0;
          clipped += term.clipped ? 1 : 0;
        }
      }
      EXPECT_FLOAT_EQ(found.losses[at], static_cast<float>(loss)) << row << " " << t;
      EXPECT_FLOAT_EQ(found.d_nll[at], static_cast<float>(d_nll)) << row << " " << t;
      EXPECT_FLOAT_EQ(found.d_entropy[at], static_cast<float>(d_entropy)) << row << " " << t;
    }
  }
  EXPECT_GT(clipped, 0);
}

TEST_F(PolicyObjectiveOf, DerivativesAreDifferences) {
  PolicyObjective objective(rows_, kLength, 0.25, loss_);
  const Evaluated found = evaluate(objective, nll_, entropy_);
  const auto differences = [&](std::vector<float>& x) {
    std::vector<double> quotients;
    for (float& each : x) {
      const float before = each;
      each = before + 0x1p-8F;
      const std::vector<float> above = evaluate(objective, nll_, entropy_).losses;
      each = before - 0x1p-8F;
      const std::vector<float> below = evaluate(objective, nll_, entropy_).losses;
      each = before;
      double sum = 0.0;
      for (std::size_t i = 0; i < above.size(); ++i) {
        sum += (static_cast<double>(above[i]) - below[i]) * 0x1p7;
      }
      quotients.push_back(sum / 7.0);
    }
    return quotients;
  };
  const std::vector<double> by_nll = differences(nll_);
  const std::vector<double> by_entropy = differences(entropy_);
  for (std::size_t i = 0; i < nll_.size(); ++i) {
    EXPECT_NEAR(found.d_nll[i], by_nll[i], 1e-4) << i;
    EXPECT_NEAR(found.d_entropy[i], by_entropy[i], 1e-4) << i;
  }
}

TEST_F(PolicyObjectiveOf, PiecesOfTheBatchAreTheWholeBatch) {
  PolicyObjective objective(rows_, kLength, 0.25, loss_);
  const Evaluated whole = evaluate(objective, nll_, entropy_);
  for (std::size_t first = 0; first < nll_.size(); first += 7) {
    const std::size_t end = std::min(first + 7, nll_.size());
    const auto part = [&](const std::vector<float>& x) {
      return std::vector<float>(x.begin() + static_cast<std::ptrdiff_t>(first),
                                x.begin() + static_cast<std::ptrdiff_t>(end));
    };
    const Evaluated piece = evaluate(objective, part(nll_), part(entropy_), first);
    EXPECT_EQ(piece.losses, part(whole.losses));
    EXPECT_EQ(piece.d_nll, part(whole.d_nll));
    EXPECT_EQ(piece.d_entropy, part(whole.d_entropy));
  }
}

TEST(ValueObjective, ByHand) {
  Experience made;
  made.episode.prompt = {1, 2};
  made.episode.response = {3, 4};
  made.values = {0.0, 0.0};
  made.returns = {2.0, 2.0};
  const std::vector<const Experience*> rows = {&made};
  ValueObjective objective(rows, 0.2, 4.0);
  // 1.0 went further than 0.2: its loss is that of 0.2, and it is not pulled.
  const std::vector<float> values = {7.0F, 1.0F, 0.125F, 7.0F};
  std::vector<float> d(4, 9.0F);
  EXPECT_DOUBLE_EQ(objective.evaluate(0, values, d), 0.5 * 1.8 * 1.8 + 0.5 * 1.875 * 1.875);
  EXPECT_THAT(d, ElementsAre(0.0F, 0.0F, -1.875F / 4.0F, 0.0F));
}

TEST_F(ValueObjectiveOf, DerivativesAreDifferences) {
  const std::vector<const Experience*> rows = {&all_[0], &all_[1], &all_[2], &all_[3]};
  ValueObjective objective(rows, 0.2, 3.0);
  for (std::int64_t row = 0; row < 4; ++row) {
    std::vector<float> values(static_cast<std::size_t>(kLength));
    for (std::size_t t = 0; t < values.size(); ++t) {
      values[t] = static_cast<float>(std::sin(0.8 * static_cast<double>(t) + row));
    }
    std::vector<float> d(values.size());
    std::vector<float> ignored(values.size());
    objective.evaluate(row, values, d);
    for (std::size_t t = 0; t < values.size(); ++t) {
      const float before = values[t];
      values[t] = before + 0x1p-8F;
      const double above = objective.evaluate(row, values, ignored);
      values[t] = before - 0x1p-8F;
      const double below = objective.evaluate(row, values, ignored);
      values[t] = before;
      EXPECT_NEAR(d[t], (above - below) * 0x1p7 / 3.0, 1e-6) << row << " " << t;
    }
  }
}

// Two responses, of two tokens and of one.
std::vector<Experience> two_responses() {
  std::vector<Experience> all(2);
  all[0].episode.prompt = {1};
  all[0].episode.response = {2, 3};
  all[0].episode.sampler_logprobs = {-1.25F, -2.0F};
  all[0].episode.stopped = true;
  all[0].logprobs = {-1.0, -2.0};
  all[0].reference = {-1.5, -1.0};
  all[0].values = {0.2, 0.4};
  all[0].score = 1.0;
  all[1].episode.prompt = {1};
  all[1].episode.response = {4};
  all[1].episode.sampler_logprobs = {-3.0F};
  all[1].logprobs = {-3.0};
  all[1].reference = {-3.0};
  all[1].values = {0.0};
  all[1].score = -1.0;
  return all;
}

launch::PpoSection plain_ppo() {
  launch::PpoSection ppo;
  ppo.lambda = 0.5;
  ppo.whiten_advantages = false;
  return ppo;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-7) << i;
}

TEST(Estimate, ByHand) {
  std::vector<Experience> all = two_responses();
  estimate(all, plain_ppo(), 0.1);
  // Rewards -0.05 and 0.1 + 1; differences 0.15 and 0.7.
  expect_near(all[0].advantages, {0.5, 0.7});
  expect_near(all[0].returns, {0.7, 1.1});
  expect_near(all[1].advantages, {-1.0});
  expect_near(all[1].returns, {-1.0});
}

TEST(Estimate, WithoutPenaltyAndWithADiscount) {
  std::vector<Experience> all = two_responses();
  launch::PpoSection ppo = plain_ppo();
  ppo.gamma = 0.5;
  estimate(all, ppo, 0.0);
  // Rewards 0 and 1; differences 0.2 - 0.2 and 0.6; the last one counts a quarter.
  expect_near(all[0].advantages, {0.15, 0.6});
  expect_near(all[0].returns, {0.35, 1.0});
}

TEST(Estimate, WhitenedAdvantagesAreOfTheWholeRolloutAndReturnsStay) {
  std::vector<Experience> all = two_responses();
  launch::PpoSection ppo = plain_ppo();
  ppo.whiten_advantages = true;
  estimate(all, ppo, 0.1);
  // Of 0.5, 0.7, -1: mean 0.0666667, variance 0.5755556.
  expect_near(all[0].advantages, {0.57118720, 0.83481207});
  expect_near(all[1].advantages, {-1.40599927});
  expect_near(all[0].returns, {0.7, 1.1});
  expect_near(all[1].returns, {-1.0});
}

TEST(Estimate, WhitenedRewardsKeepTheirMean) {
  std::vector<Experience> all = two_responses();
  launch::PpoSection ppo = plain_ppo();
  ppo.whiten_rewards = true;
  ppo.lambda = 0.0;
  ppo.gamma = 0.0;
  estimate(all, ppo, 0.1);
  // Of -0.05, 1.1, -1: mean 0.0166667, variance 0.7372222. Without a future they are the returns.
  expect_near(all[0].returns, {-0.06097762, 1.27838640});
  expect_near(all[1].returns, {-1.16740877});
}

TEST(Metrics, OfTheRolloutByHand) {
  std::vector<Experience> all = two_responses();
  all[1].score = -0.5;
  for (Experience& each : all) each.rule_score = 3.0 * each.score;
  estimate(all, plain_ppo(), 0.1);
  EXPECT_DOUBLE_EQ(mean_kl(all), -0.25);
  const auto found = rollout_metrics(all, 0.1);
  const std::map<std::string, double> expected = {
      {"objective/kl", -0.25},
      {"objective/entropy", 3.0},
      {"objective/non_score_reward", 0.025},
      {"objective/scores", 0.25},
      {"objective/rule_scores", 0.75},
      {"objective/rlhf_reward", 0.275},
      {"objective/kl_coefficient", 0.1},
      // Returns 0.7, 1.1, -0.5; what the values miss of them 0.5, 0.7, -0.5.
      {"val/explained_variance", 1.0 - (0.99 / 3 - 0.7 * 0.7 / 9) / (1.95 / 3 - 1.3 * 1.3 / 9)},
      {"val/num_eos_tokens", 1.0},
      {"response/length", 1.5},
      {"response/stopped_share", 0.5},
      {"sampler/logprob_max_difference", 0.25}};
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, value] : expected) EXPECT_NEAR(found.at(name), value, 1e-9) << name;
}

TEST(Metrics, OfTheUpdatesByHand) {
  std::vector<Experience> all = two_responses();
  all[0].advantages = {1.0, 1.0};
  all[1].advantages = {-2.0};
  all[0].returns = {0.2, 1.4};
  all[1].returns = {1.0};
  launch::PpoSection ppo = plain_ppo();
  UpdateCounter counter(ppo);
  // T = 3: the first two places of row 0 are its tokens, the first of row 2 is that one's.
  const std::vector<const Experience*> first = {&all[0], nullptr, &all[1]};
  const double kl =
      counter.add_policy(first, std::vector<float>{0.5F, 2.0F, 9, 9, 9, 9, 3.0F, 9, 9},
                         std::vector<float>{1.0F, 2.0F, 99, 99, 99, 99, 3.0F, 99, 99}, 3);
  EXPECT_NEAR(kl, 0.5 * 0.25 / 3, 1e-9);
  const std::vector<const Experience*> second = {&all[1]};
  EXPECT_NEAR(counter.add_policy(second, std::vector<float>{2.5F, 9, 9},
                                 std::vector<float>{0.5F, 99, 99}, 3),
              0.125, 1e-9);
  counter.add_value({&all[0]}, std::vector<float>{1.0F, 0.5F, 99}, 3);
  const auto found = counter.metrics();
  const double e = std::exp(0.5);
  const double mean = ((e + 2) / 3 + e) / 2;
  const std::map<std::string, double> expected = {
      {"policy/approxkl_avg", 0.25 / 4},
      {"policy/clipfrac_avg", 0.25},
      {"policy/entropy_avg", 6.5 / 4},
      {"loss/policy_avg", (-1.2 - 1.0 + 2.0 + 2.0 * e) / 4},
      // 1.0 is held at 0.4 and both are above 0.2: the larger error counts, which pulls.
      {"loss/value_avg", 0.5 * (0.8 * 0.8 + 0.9 * 0.9) / 2},
      {"val/clipfrac_avg", 0.0},
      {"val/ratio", (e + 1 + 1 + e) / 4},
      {"val/ratio_var", (std::pow((e + 2) / 3 - mean, 2) + std::pow(e - mean, 2)) / 2}};
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, value] : expected) EXPECT_NEAR(found.at(name), value, 1e-7) << name;
}

TEST(Metrics, TheseAreAllThatTheDocumentNames) {
  std::vector<Experience> all = two_responses();
  for (Experience& each : all) each.model_score = each.rule_score = each.score;
  estimate(all, plain_ppo(), 0.1);
  std::set<std::string> names = {"lr",
                                 "episode",
                                 "eps",
                                 "rollout/tokens_per_second",
                                 "seconds/rollout",
                                 "seconds/score",
                                 "seconds/update"};
  for (const auto& [name, value] : rollout_metrics(all, 0.1)) names.insert(name);
  UpdateCounter counter(launch::PpoSection{});
  const std::vector<float> nll = {9.0F, 9.0F, 1.0F, 2.0F};
  counter.add_mix({&all[0], nullptr}, nll, 2);
  EXPECT_EQ(counter.metrics().at("mix_loss"), 1.5);
  for (const auto& [name, value] : counter.metrics()) names.insert(name);
  EXPECT_EQ(names, std::set<std::string>(metric::kPpoMetrics.begin(), metric::kPpoMetrics.end()));
}

}  // namespace
}  // namespace talaria::worker
