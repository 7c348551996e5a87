// SPDX-License-Identifier: Apache-2.0
// The whole reference GPT against finite differences of its loss, for every parameter tensor.
#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "model/ref/gpt.h"
#include "tests/unit/gradient_check.h"

namespace talaria::model::test {
namespace {

GptConfig small_config() {
  GptConfig config;
  config.layers = 2;
  config.hidden = 6;
  config.heads = 2;
  config.ffn = 7;
  config.context = 8;
  config.vocab = 11;
  return config;
}

ref::NamedTensors random_parameters(const GptConfig& config, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw(0.0, 0.3);
  ref::NamedTensors parameters;
  for (const auto& [name, count] : ref::gpt_tensors(config)) {
    std::vector<double>& values = parameters[name];
    for (std::int64_t i = 0; i < count; ++i) values.push_back(draw(engine));
    if (name.ends_with("ln1.weight") || name.ends_with("ln2.weight") || name == "ln_f.weight") {
      for (double& value : values) value += 1.0;
    }
  }
  return parameters;
}

ref::GptBatch random_batch(const GptConfig& config, std::int64_t samples, std::int64_t length,
                           float dropout) {
  std::mt19937 engine(5);
  std::uniform_int_distribution<std::int32_t> draw(0, static_cast<std::int32_t>(config.vocab) - 1);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < samples * (length + 1); ++i) ids.push_back(draw(engine));
  return {causal_batch(ids, length), 77, 3, 4, dropout};
}

template <class Element>
std::vector<Element> part_of(const std::vector<Element>& list, std::int64_t first,
                             std::int64_t count) {
  return {list.begin() + first, list.begin() + first + count};
}

Batch rows_of(const Batch& batch, std::int64_t first, std::int64_t rows) {
  const std::int64_t t = batch.length;
  return {t, part_of(batch.inputs, first * t, rows * t),
          part_of(batch.targets, first * t, rows * t), part_of(batch.weights, first * t, rows * t),
          part_of(batch.starts, first * t, rows * t)};
}

TEST(RefGpt, HasEveryParameter) {
  const GptConfig config = small_config();
  std::int64_t total = 0;
  for (const auto& [name, count] : ref::gpt_tensors(config)) total += count;
  EXPECT_EQ(total, config.parameters());
  EXPECT_EQ(ref::gpt_tensors(config).size(), 4U + 16U * 2U);
}

class RefGptGradient : public testing::TestWithParam<float> {};

TEST_P(RefGptGradient, MatchesFiniteDifferences) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 1);
  const ref::GptBatch batch = random_batch(config, 3, 5, GetParam());
  ref::NamedTensors gradients;
  ref::gpt_loss(config, parameters, batch, &gradients);
  ASSERT_EQ(gradients.size(), parameters.size());
  for (auto& [name, values] : parameters) {
    const double largest =
        std::abs(*std::max_element(gradients[name].begin(), gradients[name].end(),
                                   [](double a, double b) { return std::abs(a) < std::abs(b); }));
    // A key's bias shifts all scores of a query alike, so its gradient is 0 without dropout.
    if (!name.ends_with("attn.k.bias")) {
      EXPECT_GT(largest, 1e-5) << name;
    }
    expect_gradient(
        name, values, gradients[name], [&] { return ref::gpt_loss(config, parameters, batch); },
        values.size() > 12 ? 5 : 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Dropout, RefGptGradient, testing::Values(0.0F, 0.2F));

TEST(RefGpt, RandomParametersCostAboutTheLogOfTheVocabulary) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 2);
  for (double& value : parameters["tok_embed"]) value *= 0.01;
  EXPECT_NEAR(ref::gpt_loss(config, parameters, random_batch(config, 4, 8, 0.0F)), std::log(11.0),
              0.02);
}

// The mean over a batch is the mean of its samples' losses, dropout included: random bits name the
// sample, not its place.
TEST(RefGpt, SamplesAreIndependent) {
  const GptConfig config = small_config();
  const ref::NamedTensors parameters = random_parameters(config, 3);
  const ref::GptBatch batch = random_batch(config, 3, 5, 0.2F);
  double sum = 0.0;
  for (std::int64_t s = 0; s < 3; ++s) {
    ref::GptBatch one = batch;
    one.first_sample += s;
    one.tokens = rows_of(batch.tokens, s, 1);
    sum += ref::gpt_loss(config, parameters, one);
  }
  EXPECT_NEAR(ref::gpt_loss(config, parameters, batch), sum / 3.0, 1e-13);
}

}  // namespace
}  // namespace talaria::model::test
