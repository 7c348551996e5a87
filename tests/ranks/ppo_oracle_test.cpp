// SPDX-License-Identifier: Apache-2.0
// The losses of PPO through the whole model: against the GPT in double with the terms written out,
// whose gradients are central differences, and the same bits in every layout.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "model/ref/gpt.h"
#include "model/rl/ppo_loss.h"
#include "tests/support/local_engine.h"
#include "tests/support/ppo_fixtures.h"
#include "tests/unit/gradient_check.h"
#include "worker/chat_data.h"
#include "worker/ppo/objectives.h"
#include "worker/row_layout.h"

namespace talaria::worker {
namespace {

constexpr double kMixWeight = 0.125;
constexpr PolicyLoss kLoss = {.clip = 0.2, .entropy_coefficient = 0.05, .divisor = 13.0};
constexpr double kValueClip = 0.1;
constexpr double kEntropyCoefficient = 0.05;
constexpr float kLogitScale = 1.25F;  // temperature 0.8

launch::Job ppo_job(std::int64_t episodes, std::int64_t mix) {
  launch::Job job = small_job();
  job.job.numerics = {true, 2, 2};
  job.model = {.layers = 2, .hidden = 16, .heads = 2, .ffn = 64, .context = 12, .vocab = 31};
  job.train.global_batch = episodes;
  job.train.sequence_length = 12;
  job.train.dropout = 0.0;
  job.mix.rows = mix;
  return job;
}

// A step's rows: episodes and, where a row has none, text.
struct Rows {
  explicit Rows(const launch::Job& job_in)
      : job(job_in), all(made_up_experiences(job.train.global_batch, job.model.vocab, {}, 0.1)) {
    for (const RowPlace& place : rows_of_step(job)) {
      rows.push_back(place.mix ? nullptr : &all[static_cast<std::size_t>(place.index)]);
    }
  }

  std::span<const Experience* const> of(std::int64_t first, std::int64_t count) const {
    return std::span(rows).subspan(static_cast<std::size_t>(first),
                                   static_cast<std::size_t>(count));
  }

  model::Batch batch(std::int64_t first, std::int64_t count) const {
    model::Batch made;
    made.length = job.train.sequence_length;
    for (std::int64_t r = first; r < first + count; ++r) {
      const Experience* each = rows[static_cast<std::size_t>(r)];
      if (each != nullptr) {
        append_row(episode_row(each->episode, made.length, 0), made);
        continue;
      }
      const model::Batch text = made_up_batch(job, r, 1);
      storage::Row row{text.inputs, text.targets, text.starts, text.weights};
      row.starts.resize(text.inputs.size(), 0);
      row.weights.resize(text.inputs.size(), 1.0F);
      append_row(row, made);
    }
    return made;
  }

  // Of text 1.
  template <class Number>
  std::vector<Number> logit_scales(std::int64_t first, std::int64_t count) const {
    std::vector<Number> scales;
    for (const Experience* each : of(first, count)) {
      scales.insert(scales.end(), static_cast<std::size_t>(job.train.sequence_length),
                    each == nullptr ? Number{1} : Number{kLogitScale});
    }
    return scales;
  }

  launch::Job job;
  std::vector<Experience> all;
  std::vector<const Experience*> rows;
};

EngineTask task_of(const Rows& rows, model::HeadKind head) {
  EngineTask task;
  task.head = head;
  task.train = [&rows, head](Engine& engine, std::int64_t step, const model::Batch& made_up) {
    // The same rows in every step.
    const model::Batch batch = rows.batch(engine.first_sample(), made_up.samples());
    const auto own = rows.of(engine.first_sample(), batch.samples());
    PolicyObjective policy(own, batch.length, kMixWeight, kLoss);
    ValueObjective value(own, kValueClip, kLoss.divisor);
    const auto scales = rows.logit_scales<float>(engine.first_sample(), batch.samples());
    return head == model::HeadKind::kScalar
               ? engine.train_step(step, batch, {.scalars = &value}, kLoss.divisor, false)
               : engine.train_step(step, batch, {.tokens = &policy, .logit_scales = scales},
                                   kLoss.divisor, false);
  };
  return task;
}

// Loss and derivatives written out, token by token.
double policy_loss(const Rows& rows, std::span<const double> nll, std::span<const double> entropy,
                   std::span<double> d_nll, std::span<double> d_entropy) {
  const auto length = static_cast<std::size_t>(rows.job.train.sequence_length);
  std::fill(d_nll.begin(), d_nll.end(), 0.0);
  std::fill(d_entropy.begin(), d_entropy.end(), 0.0);
  double sum = 0.0;
  for (std::size_t r = 0; r < rows.rows.size(); ++r) {
    const Experience* each = rows.rows[r];
    for (std::size_t t = 0; each == nullptr && t < length; ++t) {
      sum += kMixWeight * nll[r * length + t];
      d_nll[r * length + t] = kMixWeight / kLoss.divisor;
    }
    for (std::size_t t = 0; each != nullptr && t < each->episode.response.size(); ++t) {
      const std::size_t at = r * length + each->episode.prompt.size() - 1 + t;
      const double ratio = std::exp(-nll[at] - each->logprobs[t]);
      const double advantage = each->advantages[t];
      const double plain = -advantage * ratio;
      const double clipped = -advantage * std::clamp(ratio, 0.8, 1.2);
      sum += std::max(plain, clipped) - kEntropyCoefficient * entropy[at];
      d_nll[at] = plain >= clipped ? advantage * ratio / kLoss.divisor : 0.0;
      d_entropy[at] = -kEntropyCoefficient / kLoss.divisor;
    }
  }
  return sum / kLoss.divisor;
}

double value_loss(const Rows& rows, std::span<const double> values, std::span<double> d_values) {
  const auto length = static_cast<std::size_t>(rows.job.train.sequence_length);
  std::fill(d_values.begin(), d_values.end(), 0.0);
  double sum = 0.0;
  for (std::size_t r = 0; r < rows.rows.size(); ++r) {
    const Experience& each = *rows.rows[r];
    for (std::size_t t = 0; t < each.episode.response.size(); ++t) {
      const std::size_t at = r * length + each.episode.prompt.size() - 1 + t;
      const double near =
          each.values[t] + std::clamp(values[at] - each.values[t], -kValueClip, kValueClip);
      const double plain = std::abs(values[at] - each.returns[t]);
      const double clipped = std::abs(near - each.returns[t]);
      const double worse = std::max(plain, clipped);
      sum += 0.5 * worse * worse;
      d_values[at] = plain >= clipped ? (values[at] - each.returns[t]) / kLoss.divisor : 0.0;
    }
  }
  return sum / kLoss.divisor;
}

double reference_loss(const Rows& rows, model::HeadKind head,
                      const model::ref::NamedTensors& weights,
                      model::ref::NamedTensors* gradients) {
  const model::ref::GptBatch batch = {
      .tokens = rows.batch(0, rows.job.step_rows()),
      .logit_scales = rows.logit_scales<double>(0, rows.job.step_rows())};
  if (head == model::HeadKind::kScalar) {
    const model::ref::ValueLoss loss = [&](auto values, auto d_values) {
      return value_loss(rows, values, d_values);
    };
    return model::ref::gpt_value_loss(rows.job.model, weights, batch, loss, gradients);
  }
  const model::ref::TokenLoss loss = [&](auto nll, auto entropy, auto d_nll, auto d_entropy) {
    return policy_loss(rows, nll, entropy, d_nll, d_entropy);
  };
  return model::ref::gpt_loss(rows.job.model, weights, batch, loss, gradients);
}

void expect_reference(const EngineRun& run, double loss, const model::ref::NamedTensors& expected) {
  EXPECT_NEAR(run.losses.at(0), loss, 2e-6 * std::max(1.0, std::abs(loss)));
  ASSERT_EQ(run.gradients.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    double worst = 0.0;
    double largest = 1e-6;
    // The gradient of a key's bias is 0 but for rounding: the query's says what is small.
    std::string scale = name;
    if (const std::size_t at = name.find("attn.k.bias"); at != std::string::npos) {
      scale = name.substr(0, at) + "attn.q.bias";
    }
    for (const double each : expected.at(scale)) largest = std::max(largest, std::abs(each));
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(run.gradients.at(name)[i]) - tensor[i]));
    }
    EXPECT_LE(worst / largest, 2e-5) << name;
  }
}

void expect_oracle(const launch::Job& base, model::HeadKind head) {
  launch::Job job = base;
  const Rows rows(job);
  const EngineTask task = task_of(rows, head);
  model::ref::NamedTensors weights;
  for (const auto& [name, tensor] : run_engine(job, 0, nullptr, task).weights) {
    weights[name].assign(tensor.begin(), tensor.end());
  }
  model::ref::NamedTensors gradients;
  const double loss = reference_loss(rows, head, weights, &gradients);
  for (auto& [name, tensor] : weights) {
    model::test::expect_gradient(
        name, tensor, gradients.at(name),
        [&] { return reference_loss(rows, head, weights, nullptr); }, tensor.size() / 7 + 1, 1e-6);
  }
  const EngineRun single = run_engine(job, 2, nullptr, task);
  expect_reference(run_engine(job, 1, nullptr, task), loss, gradients);
  for (const parallel::Layout& layout : {parallel::Layout{2, 1, 1}, parallel::Layout{1, 2, 1},
                                         parallel::Layout{1, 1, 2}, parallel::Layout{2, 2, 2}}) {
    job.parallel.layout = layout;
    const EngineRun run = run_engine(job, 2, nullptr, task);
    EXPECT_EQ(run.losses, single.losses);
    EXPECT_EQ(run.weights, single.weights);
  }
}

TEST(PpoOracle, ThePolicysLossAtATemperatureWithEntropyAndRowsOfText) {
  const launch::Job job = ppo_job(4, 2);
  const Rows rows(job);
  EXPECT_EQ(std::count(rows.rows.begin(), rows.rows.end(), nullptr), 2);
  expect_oracle(job, model::HeadKind::kLanguageModel);
}

TEST(PpoOracle, TheValueNetworksLoss) { expect_oracle(ppo_job(4, 0), model::HeadKind::kScalar); }

}  // namespace
}  // namespace talaria::worker
