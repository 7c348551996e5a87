// SPDX-License-Identifier: Apache-2.0
// The parallel engine against the whole GPT in double: the loss of a step and the gradient of every
// parameter, dropout included, up to f32 rounding.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "model/ref/gpt.h"
#include "tests/support/local_engine.h"

namespace talaria::worker {
namespace {

struct Oracle {
  double loss = 0.0;
  model::ref::NamedTensors gradients;
};

// Of the step's whole global batch, from the weights that the engine starts with.
Oracle reference_step(const launch::Job& job) {
  model::ref::NamedTensors parameters;
  for (const auto& [name, weights] : run_engine(job, 0).weights) {
    parameters[name].assign(weights.begin(), weights.end());
  }
  model::ref::GptBatch batch;
  batch.seed = job.job.seed;
  batch.dropout = static_cast<float>(job.train.dropout);
  batch.tokens = made_up_batch(job, 0, job.train.global_batch);
  Oracle oracle;
  oracle.loss = model::ref::gpt_loss(job.model, parameters, batch, &oracle.gradients);
  return oracle;
}

void expect_oracle(const EngineRun& run, const Oracle& oracle) {
  ASSERT_EQ(run.losses.size(), 1U);
  EXPECT_NEAR(run.losses[0], oracle.loss, 1e-6 * oracle.loss);
  ASSERT_EQ(run.gradients.size(), oracle.gradients.size());
  double squares = 0.0;
  for (const auto& [name, expected] : oracle.gradients) {
    const std::vector<float>& gradient = run.gradients.at(name);
    ASSERT_EQ(gradient.size(), expected.size()) << name;
    double worst = 0.0;
    double largest = 1e-6;  // the gradient of a key's bias is all but zero
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

}  // namespace
}  // namespace talaria::worker
