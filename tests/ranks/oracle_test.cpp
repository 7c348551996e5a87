// SPDX-License-Identifier: Apache-2.0
// The parallel engine against the whole GPT in double: the loss of a step and the gradient of every
// parameter, dropout included, up to f32 rounding.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "model/ref/gpt.h"
#include "tests/support/local_engine.h"
#include "tests/support/objectives.h"
#include "worker/preference.h"

namespace talaria::worker {
namespace {

struct Oracle {
  double loss = 0.0;
  model::ref::NamedTensors gradients;
};

model::ref::NamedTensors first_weights(const launch::Job& job, const EngineTask& task) {
  model::ref::NamedTensors parameters;
  for (const auto& [name, weights] : run_engine(job, 0, nullptr, task).weights) {
    parameters[name].assign(weights.begin(), weights.end());
  }
  return parameters;
}

// The step's whole global batch.
model::ref::GptBatch whole_batch(const launch::Job& job, const EngineTask& task) {
  return {task.batch(job, 0, job.train.global_batch), job.job.seed, 0, 0,
          static_cast<float>(job.train.dropout)};
}

// From the weights that the engine starts with.
Oracle reference_step(const launch::Job& job) {
  Oracle oracle;
  oracle.loss = model::ref::gpt_loss(job.model, first_weights(job, {}), whole_batch(job, {}),
                                     &oracle.gradients);
  return oracle;
}

void expect_oracle(const EngineRun& run, const Oracle& oracle) {
  ASSERT_EQ(run.losses.size(), 1U);
  EXPECT_NEAR(run.losses[0], oracle.loss, 1e-6 * std::abs(oracle.loss));
  ASSERT_EQ(run.gradients.size(), oracle.gradients.size());
  double squares = 0.0;
  for (const auto& [name, expected] : oracle.gradients) {
    const std::vector<float>& gradient = run.gradients.at(name);
    ASSERT_EQ(gradient.size(), expected.size()) << name;
    double worst = 0.0;
    double largest = 1e-6;
    // The gradient of a key's bias is 0 but for rounding: the query's says what is small.
    if (const std::size_t at = name.find("attn.k.bias"); at != std::string::npos) {
      for (const double q : oracle.gradients.at(name.substr(0, at) + "attn.q.bias")) {
        largest = std::max(largest, std::abs(q));
      }
    }
    // So is that of a bias that moves all rewards alike, under a loss of their differences.
    if (name == "value_head.bias" || name == "ln_f.bias") {
      const auto weight = oracle.gradients.find("ln_f.weight");
      for (const double w : weight->second) largest = std::max(largest, std::abs(w));
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(gradient[i]) - expected[i]));
      largest = std::max(largest, std::abs(expected[i]));
      squares += expected[i] * expected[i];
    }
    EXPECT_LE(worst / largest, 2e-5) << name;
  }
  EXPECT_NEAR(run.grad_norms[0], std::sqrt(squares), 1e-5 * std::sqrt(squares));
}

launch::Job oracle_job() {
  launch::Job job = small_job();
  job.train.global_batch = 4;
  return job;
}

TEST(Oracle, OneRankAndEightRanksComputeTheReferencesGradients) {
  launch::Job job = oracle_job();
  const Oracle oracle = reference_step(job);
  expect_oracle(run_engine(job, 1), oracle);
  job.parallel.layout = {2, 2, 2};
  expect_oracle(run_engine(job, 1), oracle);
}

TEST(Oracle, FastNumericsComputeThemToo) {
  launch::Job job = oracle_job();
  job.job.numerics = {};
  job.train.micro_batch = 2;
  const Oracle oracle = reference_step(job);
  expect_oracle(run_engine(job, 1), oracle);
}

TEST(Oracle, WithoutDropout) {
  launch::Job job = oracle_job();
  job.train.dropout = 0.0;
  job.parallel.layout = {4, 1, 2};
  expect_oracle(run_engine(job, 1), reference_step(job));
}

model::Batch packed_batch(const launch::Job& job, std::int64_t first, std::int64_t samples) {
  model::Batch batch = made_up_batch(job, first, samples);
  model::test::pack(batch, first);
  return batch;
}

TEST(Oracle, PackedRowsWithWeights) {
  launch::Job job = oracle_job();
  const EngineTask task = {.batch = packed_batch};
  const std::vector<float> weights = packed_batch(job, 0, 4).weights;
  Oracle oracle;
  // The engine's step divides by all tokens, whatever their weights.
  const model::ref::TokenLoss loss = [&](std::span<const double> nll, std::span<const double>,
                                         std::span<double> d_nll, std::span<double>) {
    double sum = 0.0;
    const auto count = static_cast<double>(nll.size());
    for (std::size_t i = 0; i < nll.size(); ++i) {
      sum += weights[i] * nll[i] / count;
      d_nll[i] = weights[i] / count;
    }
    return sum;
  };
  oracle.loss = model::ref::gpt_loss(job.model, first_weights(job, task), whole_batch(job, task),
                                     loss, &oracle.gradients);
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
  job.parallel.layout = {2, 2, 2};
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
}

TEST(Oracle, APolicysLossWithEntropies) {
  launch::Job job = oracle_job();
  constexpr double kDivisor = 37.0;
  const EngineTask task = {
      .batch = packed_batch,
      .train = [&](Engine& engine, std::int64_t step, const model::Batch& batch) {
        model::test::PolicyLikeObjective objective(batch.weights,
                                                   engine.first_sample() * batch.length, kDivisor);
        return engine.train_step(step, batch, {.tokens = &objective}, kDivisor, false);
      }};
  const std::vector<float> weights = packed_batch(job, 0, 4).weights;
  const model::ref::TokenLoss loss = [&](std::span<const double> nll,
                                         std::span<const double> entropy, std::span<double> d_nll,
                                         std::span<double> d_entropy) {
    double sum = 0.0;
    for (std::size_t i = 0; i < nll.size(); ++i) {
      const model::test::TokenTerm term = model::test::policy_like(
          static_cast<std::int64_t>(i), static_cast<double>(weights[i]), nll[i], entropy[i]);
      sum += term.loss / kDivisor;
      d_nll[i] = term.d_nll / kDivisor;
      d_entropy[i] = term.d_entropy / kDivisor;
    }
    return sum;
  };
  Oracle oracle;
  oracle.loss = model::ref::gpt_loss(job.model, first_weights(job, task), whole_batch(job, task),
                                     loss, &oracle.gradients);
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
  job.parallel.layout = {2, 2, 2};
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
}

TEST(Oracle, AScalarHead) {
  launch::Job job = oracle_job();
  constexpr double kDivisor = 11.0;
  const EngineTask task = {
      .head = model::HeadKind::kScalar,
      .batch = packed_batch,
      .train = [&](Engine& engine, std::int64_t step, const model::Batch& batch) {
        model::test::PairwiseLikeObjective objective(batch, kDivisor);
        return engine.train_step(step, batch, {.scalars = &objective}, kDivisor, false);
      }};
  const std::vector<std::int32_t> starts = packed_batch(job, 0, 4).starts;
  const auto length = static_cast<std::size_t>(job.train.sequence_length);
  const model::ref::ValueLoss loss = [&](std::span<const double> values,
                                         std::span<double> d_values) {
    double sum = 0.0;
    for (std::size_t row = 0; row < values.size(); row += length) {
      sum += model::test::pairwise_like(std::span(starts).subspan(row, length),
                                        values.subspan(row, length), d_values.subspan(row, length));
    }
    for (double& d : d_values) d /= kDivisor;
    return sum / kDivisor;
  };
  Oracle oracle;
  oracle.loss = model::ref::gpt_value_loss(job.model, first_weights(job, task),
                                           whole_batch(job, task), loss, &oracle.gradients);
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
  job.parallel.layout = {2, 2, 2};
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
}

// The segments of each row, the first being sample `first`, are the ranked answers of one prompt,
// two of them alike.
std::vector<RowComparisons> comparisons_of(const model::Batch& batch, std::int64_t first) {
  std::vector<RowComparisons> rows(static_cast<std::size_t>(batch.samples()));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto length = static_cast<std::size_t>(batch.length);
    const auto starts = std::span(batch.starts).subspan(r * length, length);
    std::vector<storage::AnswerPlace> places;
    for (std::size_t t = 0; t < length; ++t) {
      if (t + 1 < length && starts[t + 1] == starts[t]) continue;
      places.push_back({static_cast<std::int32_t>(t)});
    }
    const std::size_t row = static_cast<std::size_t>(first) + r;
    std::vector<std::int32_t> ranks;
    for (std::size_t k = 0; k < places.size(); ++k) {
      ranks.push_back(k == 1 ? 0 : static_cast<std::int32_t>((k * 5 + row) % 7));
    }
    ranks[0] = 0;
    rows[r] = {{places}, {ranks}};
  }
  return rows;
}

// Mean over the pairs of different ranks of -log sigmoid(better - worse), written out.
double ranked_loss(const RowComparisons& row, std::span<const double> values,
                   std::span<double> d_values) {
  const std::vector<storage::AnswerPlace>& places = row.places[0];
  const auto at = [&](std::size_t k) { return static_cast<std::size_t>(places[k].last); };
  double loss = 0.0;
  double pairs = 0.0;
  std::vector<std::pair<std::size_t, double>> slopes;
  for (std::size_t better = 0; better < places.size(); ++better) {
    for (std::size_t worse = 0; worse < places.size(); ++worse) {
      if (row.ranks[0][better] >= row.ranks[0][worse]) continue;
      const double difference = values[at(better)] - values[at(worse)];
      loss += std::log1p(std::exp(-difference));
      pairs += 1.0;
      slopes.emplace_back(at(better), -1.0 / (1.0 + std::exp(difference)));
      slopes.emplace_back(at(worse), 1.0 / (1.0 + std::exp(difference)));
    }
  }
  if (pairs == 0.0) return 0.0;
  for (const auto& [token, slope] : slopes) d_values[token] += slope / pairs;
  return loss / pairs;
}

TEST(Oracle, TheRewardModelsPairwiseLoss) {
  launch::Job job = oracle_job();
  const auto comparisons = static_cast<double>(job.train.global_batch);
  const EngineTask task = {
      .head = model::HeadKind::kScalar,
      .batch = packed_batch,
      .train = [&](Engine& engine, std::int64_t step, const model::Batch& batch) {
        const std::vector<RowComparisons> rows = comparisons_of(batch, engine.first_sample());
        PairwiseObjective objective(rows, comparisons);
        return engine.train_step(step, batch, {.scalars = &objective}, comparisons, false);
      }};
  const std::vector<RowComparisons> rows = comparisons_of(packed_batch(job, 0, 4), 0);
  const auto length = static_cast<std::size_t>(job.train.sequence_length);
  double answers = 0.0;
  const model::ref::ValueLoss loss = [&](std::span<const double> values,
                                         std::span<double> d_values) {
    std::fill(d_values.begin(), d_values.end(), 0.0);
    double sum = 0.0;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      answers += static_cast<double>(rows[r].places[0].size());
      sum += ranked_loss(rows[r], values.subspan(r * length, length),
                         d_values.subspan(r * length, length));
    }
    for (double& d : d_values) d /= comparisons;
    return sum / comparisons;
  };
  Oracle oracle;
  oracle.loss = model::ref::gpt_value_loss(job.model, first_weights(job, task),
                                           whole_batch(job, task), loss, &oracle.gradients);
  EXPECT_GE(answers, 2.0 * comparisons);
  EXPECT_GT(oracle.loss, 0.0);
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
  job.parallel.layout = {2, 2, 2};
  expect_oracle(run_engine(job, 1, nullptr, task), oracle);
}

}  // namespace
}  // namespace talaria::worker
