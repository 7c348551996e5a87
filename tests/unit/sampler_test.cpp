// SPDX-License-Identifier: Apache-2.0
// Drawing a token: the sets that top_k and top_p keep, the distribution of many draws, and that a
// draw depends on its arguments alone.
#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/error.h"

namespace talaria::model {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> normal_logits(std::size_t count, unsigned seed, float scale) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw_one(0.0F, scale);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = draw_one(engine);
  return logits;
}

// softmax(logits / temperature), by the textbook.
std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  p.reserve(logits.size());
  double total = 0.0;
  for (const float logit : logits) p.push_back(std::exp(static_cast<double>(logit) / temperature));
  for (const double each : p) total += each;
  for (double& each : p) each /= total;
  return p;
}

std::map<std::int32_t, int> draw_many(const std::vector<float>& logits,
                                      const SamplerOptions& options, int draws) {
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    ++counts[draw(logits, options, static_cast<std::uint64_t>(i / 100), i % 100).id];
  }
  return counts;
}

std::set<std::int32_t> ids_of(const std::map<std::int32_t, int>& counts) {
  std::set<std::int32_t> ids;
  for (const auto& [id, count] : counts) ids.insert(id);
  return ids;
}

// Sum of (observed - expected)^2 / expected. With 39 degrees of freedom 80 is exceeded by chance
// once in 8,000 times; the draws are the same at every run.
double chi_square(const std::map<std::int32_t, int>& counts, const std::vector<double>& p,
                  int draws) {
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const auto found = counts.find(static_cast<std::int32_t>(i));
    const double observed = found == counts.end() ? 0.0 : found->second;
    const double expected = p[i] * draws;
    sum += (observed - expected) * (observed - expected) / expected;
  }
  return sum;
}

TEST(Sampler, DrawsFromTheDistribution) {
  constexpr int kDraws = 60000;
  const std::vector<float> logits = normal_logits(40, 1, 1.0F);
  for (const double temperature : {1.0, 0.7, 2.0}) {
    const SamplerOptions options = {.temperature = temperature};
    const auto counts = draw_many(logits, options, kDraws);
    EXPECT_LT(chi_square(counts, softmax(logits, temperature), kDraws), 80.0) << temperature;
    // The test can tell: another temperature does not pass it.
    EXPECT_GT(chi_square(counts, softmax(logits, temperature * 1.1), kDraws), 80.0) << temperature;
  }
}

TEST(Sampler, DrawsFromTheKept) {
  constexpr int kDraws = 60000;
  const std::vector<float> logits = normal_logits(4000, 2, 1.0F);
  for (const SamplerOptions& options :
       {SamplerOptions{.top_k = 40}, {.temperature = 0.8, .top_k = 40, .top_p = 1.0}}) {
    std::vector<float> sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    sorted.resize(40);
    std::map<std::int32_t, int> by_rank;
    for (const auto& [id, count] : draw_many(logits, options, kDraws)) {
      const auto rank =
          std::find(sorted.begin(), sorted.end(), logits[static_cast<std::size_t>(id)]);
      ASSERT_NE(rank, sorted.end()) << id;
      by_rank[static_cast<std::int32_t>(rank - sorted.begin())] = count;
    }
    EXPECT_LT(chi_square(by_rank, softmax(sorted, options.temperature), kDraws), 80.0);
  }
}

TEST(Sampler, TemperatureZeroTakesTheSmallestOfTheLikeliest) {
  const std::vector<float> logits = {0.0F, 3.0F, -1.0F, 3.0F, 2.0F, 3.0F};
  for (const std::int64_t top_k : {0, 1, 4}) {
    const SamplerOptions options = {.temperature = 0.0, .top_k = top_k, .top_p = 0.5};
    for (int i = 0; i < 50; ++i) EXPECT_EQ(draw(logits, options, 9, i).id, 1);
  }
}

TEST(Sampler, TopKKeepsExactlyKWithTies) {
  // Of the four equal ones the smallest ids are kept.
  const std::vector<float> logits = {1.0F, 2.0F, 1.0F, 1.0F, 0.5F, 1.0F};
  const auto kept = [&](std::int64_t k) { return ids_of(draw_many(logits, {.top_k = k}, 2000)); };
  EXPECT_EQ(kept(1), (std::set<std::int32_t>{1}));
  EXPECT_EQ(kept(2), (std::set<std::int32_t>{0, 1}));
  EXPECT_EQ(kept(3), (std::set<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(kept(5), (std::set<std::int32_t>{0, 1, 2, 3, 5}));
  EXPECT_EQ(kept(6).size(), 6U);
  EXPECT_EQ(kept(100).size(), 6U);
  // The same among many, where a heap keeps them.
  std::vector<float> many(5000, 0.0F);
  many[4321] = 1.0F;
  EXPECT_EQ(ids_of(draw_many(many, {.top_k = 3}, 2000)), (std::set<std::int32_t>{0, 1, 4321}));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  // Probabilities 0.5, 0.25, 0.15, 0.1, at places that are not sorted.
  const std::vector<float> logits = {std::log(0.15F), std::log(0.5F), std::log(0.1F),
                                     std::log(0.25F)};
  const auto kept = [&](double p, std::int64_t k = 0, double temperature = 1.0) {
    return ids_of(draw_many(logits, {.temperature = temperature, .top_k = k, .top_p = p}, 3000));
  };
  EXPECT_EQ(kept(1e-9), (std::set<std::int32_t>{1}));
  EXPECT_EQ(kept(0.45), (std::set<std::int32_t>{1}));
  EXPECT_EQ(kept(0.55), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(kept(0.74), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(kept(0.76), (std::set<std::int32_t>{0, 1, 3}));
  EXPECT_EQ(kept(0.95), (std::set<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(kept(1.0), (std::set<std::int32_t>{0, 1, 2, 3}));
  // Among the two likeliest the first has 2/3.
  EXPECT_EQ(kept(0.64, 2), (std::set<std::int32_t>{1}));
  EXPECT_EQ(kept(0.70, 2), (std::set<std::int32_t>{1, 3}));
  // At temperature 0.5 the first has 0.25 / 0.345 = 0.72.
  EXPECT_EQ(kept(0.70, 0, 0.5), (std::set<std::int32_t>{1}));
  EXPECT_EQ(kept(0.75, 0, 0.5), (std::set<std::int32_t>{1, 3}));
}

TEST(Sampler, TopPOfALargeVocabulary) {
  // 1,200 equal ones need 601 to pass one half: more than are looked at first.
  const std::vector<float> equal(1200, 0.25F);
  const auto ids = ids_of(draw_many(equal, {.top_p = 0.5001}, 6000));
  EXPECT_EQ(*ids.rbegin(), 600);
  EXPECT_GT(ids.size(), 590U);
}

TEST(Sampler, LogprobIsOfTheWholeDistributionAtItsTemperature) {
  for (const std::size_t count : {1U, 7U, 1024U, 1025U, 50257U}) {
    const std::vector<float> logits = normal_logits(count, 3, 3.0F);
    for (const SamplerOptions& options : {SamplerOptions{},
                                          {.temperature = 0.0},
                                          {.temperature = 0.7},
                                          {.temperature = 0.5, .top_k = 10},
                                          {.temperature = 2.0, .top_k = 0, .top_p = 0.9}}) {
      const std::vector<double> p =
          softmax(logits, options.temperature == 0.0 ? 1.0 : options.temperature);
      const Drawn drawn = draw(logits, options, 5, 11);
      EXPECT_NEAR(drawn.logprob, std::log(p[static_cast<std::size_t>(drawn.id)]), 1e-6) << count;
    }
  }
}

TEST(Sampler, DependsOnItsArgumentsAlone) {
  const std::vector<float> logits = normal_logits(500, 4, 0.5F);
  const auto sequence = [&](std::uint64_t seed, std::uint64_t key) {
    std::vector<std::int32_t> ids;
    ids.reserve(40);
    for (int i = 0; i < 40; ++i) {
      ids.push_back(draw(logits, {.temperature = 1.3, .seed = seed}, key, i).id);
    }
    return ids;
  };
  EXPECT_EQ(sequence(1, 2), sequence(1, 2));
  EXPECT_NE(sequence(1, 2), sequence(2, 2));
  EXPECT_NE(sequence(1, 2), sequence(1, 3));
  EXPECT_NE(sequence(1, 2), sequence(1, 2 + (std::uint64_t{1} << 32)));
}

TEST(Sampler, ExtremeLogits) {
  // Far below the likeliest: never drawn, no NaN.
  std::vector<float> logits(2000, -kInfinity);
  logits[1500] = 1e30F;
  logits[3] = -1e30F;
  for (const SamplerOptions& options :
       {SamplerOptions{}, {.temperature = 0.01}, {.top_k = 5}, {.top_p = 0.99}}) {
    for (int i = 0; i < 200; ++i) {
      const Drawn drawn = draw(logits, options, 1, i);
      EXPECT_EQ(drawn.id, 1500);
      EXPECT_EQ(drawn.logprob, 0.0F);
    }
  }
  EXPECT_THROW(draw(std::vector<float>(20, -kInfinity), {}, 1, 1), Error);
  for (const std::size_t at : {0U, 5U, 17U, 1999U}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      std::vector<float> damaged(2000, 0.0F);
      damaged[at] = bad;
      EXPECT_THROW(draw(damaged, {.temperature = 0.0}, 1, 1), Error) << at;
      EXPECT_THROW(draw(damaged, {.top_k = 3}, 1, 1), Error) << at;
    }
  }
}

}  // namespace
}  // namespace talaria::model
