// SPDX-License-Identifier: Apache-2.0
// The whole reference GPT against finite differences of its loss, for every parameter tensor.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "model/ref/gpt.h"
#include "tests/support/objectives.h"
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

ref::NamedTensors random_parameters(const GptConfig& config, unsigned seed,
                                    HeadKind head = HeadKind::kLanguageModel) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw(0.0, 0.3);
  ref::NamedTensors parameters;
  for (const auto& [name, count] : ref::gpt_tensors(config, head)) {
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

// Expects the gradients of a loss by every parameter. loss(parameters, gradients or nullptr).
void expect_gradients(
    ref::NamedTensors& parameters,
    const std::function<double(const ref::NamedTensors&, ref::NamedTensors*)>& loss) {
  ref::NamedTensors gradients;
  loss(parameters, &gradients);
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
        name, values, gradients[name], [&] { return loss(parameters, nullptr); },
        values.size() > 12 ? 5 : 1);
  }
}

class RefGptGradient : public testing::TestWithParam<float> {};

TEST_P(RefGptGradient, MatchesFiniteDifferences) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 1);
  const ref::GptBatch batch = random_batch(config, 3, 5, GetParam());
  expect_gradients(parameters, [&](const auto& at, auto* gradients) {
    return ref::gpt_loss(config, at, batch, gradients);
  });
}

ref::GptBatch packed_batch(const GptConfig& config, float dropout) {
  ref::GptBatch batch = random_batch(config, 3, 8, dropout);
  pack(batch.tokens, 0);
  return batch;
}

TEST_P(RefGptGradient, OfPackedRowsWithWeights) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 6);
  const ref::GptBatch batch = packed_batch(config, GetParam());
  const ref::TokenLoss weighted = [&](std::span<const double> nll, std::span<const double>,
                                      std::span<double> d_nll, std::span<double>) {
    std::copy(batch.tokens.weights.begin(), batch.tokens.weights.end(), d_nll.begin());
    return std::inner_product(nll.begin(), nll.end(), d_nll.begin(), 0.0);
  };
  expect_gradients(parameters, [&](const auto& at, auto* gradients) {
    return ref::gpt_loss(config, at, batch, weighted, gradients);
  });
}

TEST_P(RefGptGradient, OfEntropies) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 7);
  const ref::GptBatch batch = packed_batch(config, GetParam());
  const ref::TokenLoss entropies = [&](std::span<const double>, std::span<const double> entropy,
                                       std::span<double> d_nll, std::span<double> d_entropy) {
    std::fill(d_nll.begin(), d_nll.end(), 0.0);
    std::copy(batch.tokens.weights.begin(), batch.tokens.weights.end(), d_entropy.begin());
    return std::inner_product(entropy.begin(), entropy.end(), d_entropy.begin(), 0.0);
  };
  expect_gradients(parameters, [&](const auto& at, auto* gradients) {
    return ref::gpt_loss(config, at, batch, entropies, gradients);
  });
}

TEST_P(RefGptGradient, OfAPolicysLoss) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 8);
  const ref::GptBatch batch = packed_batch(config, GetParam());
  int clipped = 0;
  const ref::TokenLoss policy = [&](std::span<const double> nll, std::span<const double> entropy,
                                    std::span<double> d_nll, std::span<double> d_entropy) {
    double sum = 0.0;
    clipped = 0;
    for (std::size_t i = 0; i < nll.size(); ++i) {
      const TokenTerm term =
          policy_like(static_cast<std::int64_t>(i), static_cast<double>(batch.tokens.weights[i]),
                      nll[i], entropy[i]);
      sum += term.loss;
      d_nll[i] = term.d_nll;
      d_entropy[i] = term.d_entropy;
      if (batch.tokens.weights[i] > 0.0F && term.d_nll == 0.0) ++clipped;
    }
    return sum;
  };
  expect_gradients(parameters, [&](const auto& at, auto* gradients) {
    return ref::gpt_loss(config, at, batch, policy, gradients);
  });
  EXPECT_GT(clipped, 0);
}

TEST_P(RefGptGradient, OfAScalarHead) {
  const GptConfig config = small_config();
  ref::NamedTensors parameters = random_parameters(config, 9, HeadKind::kScalar);
  const ref::GptBatch batch = packed_batch(config, GetParam());
  const ref::ValueLoss pairs = [&](std::span<const double> values, std::span<double> d_values) {
    double sum = 0.0;
    for (std::size_t row = 0; row < values.size(); row += 8) {
      sum += pairwise_like(std::span(batch.tokens.starts).subspan(row, 8), values.subspan(row, 8),
                           d_values.subspan(row, 8));
    }
    return sum;
  };
  expect_gradients(parameters, [&](const auto& at, auto* gradients) {
    return ref::gpt_value_loss(config, at, batch, pairs, gradients);
  });
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
