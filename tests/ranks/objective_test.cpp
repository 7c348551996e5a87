// SPDX-License-Identifier: Apache-2.0
// Packed rows, a policy's loss and a scalar head, with ranks as threads: every layout gives the
// same bits in invariant numerics; segments do not meet; a frozen stage computes what one that can
// train does.
#include <bit>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "parallel/communicator.h"
#include "parallel/runner.h"
#include "parallel/schedule.h"
#include "tests/support/local_engine.h"
#include "tests/support/objectives.h"

namespace talaria::worker {
namespace {

using parallel::Layout;

constexpr int kSteps = 3;
constexpr double kDivisor = 50.0;

model::Batch packed_batch(const launch::Job& job, std::int64_t first, std::int64_t samples) {
  model::Batch batch = made_up_batch(job, first, samples);
  model::test::pack(batch, first);
  return batch;
}

EngineTask fine_tuning() { return {.batch = packed_batch}; }

EngineTask policy() {
  return {.batch = packed_batch,
          .train = [](Engine& engine, std::int64_t step, const model::Batch& batch) {
            model::test::PolicyLikeObjective objective(
                batch.weights, engine.first_sample() * batch.length, kDivisor);
            return engine.train_step(step, batch, {.tokens = &objective}, kDivisor, false);
          }};
}

EngineTask scalar_head() {
  return {.head = model::HeadKind::kScalar,
          .batch = packed_batch,
          .train = [](Engine& engine, std::int64_t step, const model::Batch& batch) {
            model::test::PairwiseLikeObjective objective(batch, kDivisor);
            return engine.train_step(step, batch, {.scalars = &objective}, kDivisor, false);
          }};
}

template <class Element>
bool same_bits(const std::vector<Element>& a, const std::vector<Element>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Element)) == 0;
}

void expect_same(const EngineRun& a, const EngineRun& b) {
  EXPECT_TRUE(same_bits(a.losses, b.losses));
  EXPECT_TRUE(same_bits(a.grad_norms, b.grad_norms));
  EXPECT_TRUE(same_bits(a.evaluation, b.evaluation));
  EXPECT_TRUE(same_bits(a.nll, b.nll));
  EXPECT_TRUE(same_bits(a.entropy, b.entropy));
  EXPECT_TRUE(same_bits(a.values, b.values));
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, weights] : a.weights) {
    EXPECT_TRUE(same_bits(weights, b.weights.at(name))) << name;
  }
}

struct Row {
  Layout layout;
  std::int64_t micro_batch;
  const char* schedule;
};

// Of every layout of at most two ranks an axis, and of pipelines that end in a head alone.
void expect_layouts_do_not_matter(const EngineTask& task) {
  launch::Job job = small_job();
  const EngineRun reference = run_engine(job, kSteps, nullptr, task);
  ASSERT_EQ(reference.losses.size(), static_cast<std::size_t>(kSteps));
  EXPECT_NE(reference.losses[0], reference.losses[1]);
  for (const Row& row :
       {Row{{1, 1, 1}, 2, "gpipe"}, Row{{2, 1, 1}, 1, "1f1b"}, Row{{1, 2, 1}, 1, "1f1b"},
        Row{{1, 2, 1}, 2, "gpipe"}, Row{{1, 1, 2}, 1, "gpipe"}, Row{{2, 2, 2}, 2, "1f1b"},
        Row{{2, 2, 2}, 1, "gpipe"}, Row{{4, 1, 1}, 1, "1f1b"}, Row{{1, 5, 1}, 1, "1f1b"}}) {
    SCOPED_TRACE(fmt::format("tp {} pp {} dp {} micro-batch {} {}", row.layout.tensor,
                             row.layout.pipeline, row.layout.data, row.micro_batch, row.schedule));
    job.parallel.layout = row.layout;
    job.parallel.schedule = row.schedule;
    job.parallel.zero = row.layout.data > 1;
    job.train.micro_batch = row.micro_batch;
    expect_same(run_engine(job, kSteps, nullptr, task), reference);
  }
}

TEST(Objectives, PackedRowsGiveTheSameBitsInEveryLayout) {
  expect_layouts_do_not_matter(fine_tuning());
}

TEST(Objectives, APolicysLossGivesTheSameBitsInEveryLayout) {
  expect_layouts_do_not_matter(policy());
}

TEST(Objectives, AScalarHeadGivesTheSameBitsInEveryLayout) {
  expect_layouts_do_not_matter(scalar_head());
}

TEST(Objectives, TheyAreLearned) {
  for (const EngineTask& task : {fine_tuning(), scalar_head()}) {
    const EngineRun run = run_engine(small_job(), 12, nullptr, task);
    EXPECT_LT(run.losses.back(), 0.9 * run.losses.front());
  }
}

// Only the first stage of a pipeline holds the embedding when the head is not tied to it.
TEST(Objectives, AScalarHeadsStageHoldsNoVocabulary) {
  launch::Job job = small_job();
  job.parallel.layout = {1, 2, 1};
  bool first_holds = false;
  bool last_holds = true;
  run_engine(
      job, 0,
      [&](int rank, Engine& engine) {
        bool holds = false;
        for (const model::ParameterBlock& block : engine.stage().parameters().blocks()) {
          holds |= block.tensor.name == "tok_embed";
        }
        EXPECT_EQ(engine.stage().holds_tokens(), holds);
        EXPECT_FALSE(engine.stage().shares_tokens());
        (rank == 0 ? first_holds : last_holds) = holds;
      },
      scalar_head());
  EXPECT_TRUE(first_holds);
  EXPECT_FALSE(last_holds);
}

// One stage that holds the whole model, and forward passes over batches.
class WholeModel {
 public:
  explicit WholeModel(bool frozen, model::HeadKind head = model::HeadKind::kLanguageModel)
      : tensor_(parallel::make_single_communicator()),
        pipeline_(parallel::make_single_communicator()) {
    const launch::Job job = small_job();
    model::StageSetup setup;
    setup.config = job.model;
    setup.head = head;
    setup.numerics = job.job.numerics;
    setup.length = job.train.sequence_length;
    setup.global_batch = 4;
    setup.seed = 3;
    setup.frozen = frozen;
    model::assign_layers(setup);
    model::Stream stream;
    stream.pool = &pool_;
    stage_ = std::make_unique<model::GptStage>(setup, *tensor_, stream);
    // Larger weights than those of a new model, so that everything matters.
    for (std::int64_t i = 0; i < stage_->parameters().count(); ++i) {
      stage_->parameters().weights()[i] *= 5.0F;
    }
  }

  model::GptStage& run(const model::Batch& batch) {
    model::StepContext step;
    step.training = false;
    stage_->begin(step, batch, {.entropy = true});
    parallel::run_schedule(parallel::make_forward_schedule(0, 1, static_cast<int>(batch.samples())),
                           *stage_, *pipeline_);
    return *stage_;
  }

 private:
  std::unique_ptr<parallel::Communicator> tensor_;
  std::unique_ptr<parallel::Communicator> pipeline_;
  ThreadPool pool_{1};
  std::unique_ptr<model::GptStage> stage_;
};

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

TEST(Segments, ANeighboursTokensChangeNoBit) {
  WholeModel model(true);
  const launch::Job job = small_job();
  const model::Batch batch = packed_batch(job, 0, 1);
  const std::vector<float> before = copy_of(model.run(batch).token_nll());
  const std::vector<float> entropy = copy_of(model.run(batch).token_entropy());
  int segments = 0;
  for (std::size_t first = 0; first < batch.inputs.size();) {
    std::size_t end = first + 1;
    while (end < batch.inputs.size() && batch.starts[end] == batch.starts[first]) ++end;
    model::Batch changed = batch;
    for (std::size_t t = 0; t < batch.inputs.size(); ++t) {
      if (t < first || t >= end) changed.inputs[t] = (batch.inputs[t] + 61) % 199;
    }
    model::GptStage& stage = model.run(changed);
    for (std::size_t t = 0; t < batch.inputs.size(); ++t) {
      const bool inside = t >= first && t < end;
      EXPECT_EQ(inside, stage.token_nll()[t] == before[t]) << first << " " << t;
      if (inside) {
        EXPECT_EQ(stage.token_entropy()[t], entropy[t]) << first << " " << t;
      }
    }
    first = end;
    ++segments;
  }
  EXPECT_GT(segments, 5);
}

// Every segment alone at the front of a row: the same numbers, up to rounding.
TEST(Segments, PackedAndAloneAgree) {
  for (const model::HeadKind head : {model::HeadKind::kLanguageModel, model::HeadKind::kScalar}) {
    WholeModel model(true, head);
    const auto numbers = [&](const model::Batch& batch) {
      model::GptStage& stage = model.run(batch);
      return copy_of(head == model::HeadKind::kScalar ? stage.token_values() : stage.token_nll());
    };
    const model::Batch batch = packed_batch(small_job(), 5, 1);
    const std::vector<float> packed = numbers(batch);
    for (std::size_t first = 0; first < batch.inputs.size();) {
      model::Batch alone = batch;
      std::size_t count = 0;
      while (first + count < batch.inputs.size() &&
             batch.starts[first + count] == batch.starts[first]) {
        alone.inputs[count] = batch.inputs[first + count];
        alone.targets[count] = batch.targets[first + count];
        ++count;
      }
      std::fill(alone.starts.begin(), alone.starts.end(), 0);
      const std::vector<float> unpacked = numbers(alone);
      for (std::size_t t = 0; t < count; ++t) {
        EXPECT_NEAR(packed[first + t], unpacked[t], 1e-5 * std::abs(unpacked[t])) << first + t;
      }
      first += count;
    }
  }
}

TEST(Frozen, AStageComputesTheSameInLessMemory) {
  WholeModel frozen(true);
  WholeModel trainable(false);
  const model::Batch batch = packed_batch(small_job(), 9, 4);
  model::GptStage& a = frozen.run(batch);
  model::GptStage& b = trainable.run(batch);
  EXPECT_EQ(copy_of(a.token_nll()), copy_of(b.token_nll()));
  EXPECT_EQ(a.sample_losses()[2], b.sample_losses()[2]);
  EXPECT_EQ(a.memory().weights, b.memory().weights);
  EXPECT_EQ(a.memory().gradients, 0);
  EXPECT_LT(a.memory().activations, 0.6 * static_cast<double>(b.memory().activations));
  EXPECT_EQ(a.parameters().gradients(), nullptr);
}

TEST(FrozenDeathTest, AFrozenStageCannotTrain) {
  launch::Job job = small_job();
  model::StageSetup setup;
  setup.config = job.model;
  setup.last_layer = 1;
  setup.length = job.train.sequence_length;
  setup.frozen = true;
  ThreadPool pool(1);
  model::Stream stream;
  stream.pool = &pool;
  const auto tensor = parallel::make_single_communicator();
  model::GptStage stage(setup, *tensor, stream);
  EXPECT_DEATH(stage.begin({}, packed_batch(job, 0, 1)), "a frozen model cannot train");
}

TEST(Objectives, WeightsScaleTheLosses) {
  WholeModel model(true);
  model::Batch batch = packed_batch(small_job(), 0, 2);
  model::GptStage& stage = model.run(batch);
  double sum = 0.0;
  for (std::size_t t = 32; t < 64; ++t)
    sum += static_cast<double>(batch.weights[t] * stage.token_nll()[t]);
  EXPECT_EQ(stage.sample_losses()[1], sum);
}

}  // namespace
}  // namespace talaria::worker
