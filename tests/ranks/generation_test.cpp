// SPDX-License-Identifier: Apache-2.0
// Generation with a cache, with ranks as threads: the tokens and the bits of recomputing every
// sequence from its beginning, whatever the slots, the threads and, in invariant numerics, the
// layout; and the tokens of the training forward pass.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>

#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "model/generator.h"
#include "parallel/runner.h"
#include "tests/support/local_engine.h"

namespace talaria::worker {
namespace {

using model::Continuation;
using model::GenerationOptions;
using model::Generator;
using model::Prompt;
using parallel::Layout;

constexpr std::int64_t kPrompts = 200;
constexpr std::int64_t kNew = 12;

GenerationOptions greedy() {
  return {.sampler = {.temperature = 0.0}, .max_tokens = kNew, .stop_ids = {}};
}
GenerationOptions sampled() {
  return {.sampler = {.temperature = 0.9, .top_k = 50, .top_p = 0.95, .seed = 3},
          .max_tokens = kNew,
          .stop_ids = {}};
}

// Of 1 to 31 tokens, so that some meet the end of the context.
std::vector<Prompt> some_prompts(const launch::Job& job) {
  std::vector<Prompt> prompts;
  for (std::int64_t i = 0; i < kPrompts; ++i) {
    Prompt prompt;
    prompt.key = static_cast<std::uint64_t>(i);
    for (std::int64_t t = 0; t <= i * 7 % (job.model.context - 1); ++t) {
      prompt.ids.push_back(made_up_token(job, 5000 + i, t));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

launch::Job job_of(Layout layout, bool invariant, int threads = 1) {
  launch::Job job = small_job();
  job.parallel.layout = layout;
  job.cluster.threads_per_rank = threads;
  if (!invariant) job.job.numerics = {false, layout.tensor, layout.data};
  return job;
}

// A few steps make the distributions of a new model less flat.
void train(const launch::Job& job, Engine& engine) {
  for (std::int64_t step = 0; step < 6; ++step) {
    std::vector<std::int32_t> ids;
    for (std::int64_t s = 0; s < job.train.global_batch; ++s) {
      for (std::int64_t t = 0; t <= job.train.sequence_length; ++t) {
        ids.push_back(made_up_token(job, step * job.train.global_batch + s, t));
      }
    }
    const model::Batch batch = model::causal_batch(ids, job.train.sequence_length);
    ASSERT_TRUE(engine.train_step(step, batch, false).applied);
  }
}

Generator make_generator(Engine& engine, const launch::Job& job, std::int64_t slots) {
  return {engine.stage(), *engine.groups().tensor, *engine.groups().pipeline, slots,
          job.model.context};
}

// `body` on every rank of a trained model.
void on_ranks(const launch::Job& job, const std::function<void(int, Engine&)>& body) {
  run_engine(job, 0, [&](int rank, Engine& engine) {
    train(job, engine);
    body(rank, engine);
  });
}

void expect_same(const std::vector<Continuation>& a, const std::vector<Continuation>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].ids, b[i].ids) << what << ", prompt " << i;
    ASSERT_EQ(a[i].stopped, b[i].stopped) << what << ", prompt " << i;
    ASSERT_EQ(a[i].logprobs.size(), a[i].ids.size()) << what;
    ASSERT_EQ(std::memcmp(a[i].logprobs.data(), b[i].logprobs.data(),
                          a[i].logprobs.size() * sizeof(float)),
              0)
        << what << ", prompt " << i;
  }
}

// Every token again, from a prompt that holds all before it: nothing is taken from a cache.
std::vector<Continuation> recompute(Generator& generator, const std::vector<Prompt>& prompts,
                                    const std::vector<Continuation>& known,
                                    GenerationOptions options) {
  std::vector<Continuation> result(prompts.size());
  options.max_tokens = 1;
  for (std::size_t step = 0; step < kNew; ++step) {
    std::vector<Prompt> longer;
    std::vector<std::size_t> of_prompt;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      if (known[i].ids.size() <= step) continue;
      longer.push_back(prompts[i]);
      longer.back().ids.insert(longer.back().ids.end(), known[i].ids.begin(),
                               known[i].ids.begin() + static_cast<std::ptrdiff_t>(step));
      of_prompt.push_back(i);
    }
    const std::vector<Continuation> next = generator.generate(longer, options);
    for (std::size_t j = 0; j < next.size(); ++j) {
      result[of_prompt[j]].ids.push_back(next[j].ids.at(0));
      result[of_prompt[j]].logprobs.push_back(next[j].logprobs.at(0));
      result[of_prompt[j]].stopped = next[j].stopped;
    }
  }
  return result;
}

// Keeps the last stage's output of every micro-batch of a forward schedule.
class KeepingStage : public parallel::Stage {
 public:
  explicit KeepingStage(model::GptStage& stage) : stage_(stage) {}
  TensorView input(int micro_batch) override { return stage_.input(micro_batch); }
  TensorView output(int micro_batch) override { return stage_.output(micro_batch); }
  TensorView output_gradient(int micro_batch) override {
    return stage_.output_gradient(micro_batch);
  }
  TensorView input_gradient(int micro_batch) override { return stage_.input_gradient(micro_batch); }
  void open(int micro_batch) override { stage_.open(micro_batch); }
  void forward(int micro_batch) override {
    stage_.forward(micro_batch);
    const TensorView out = stage_.output(micro_batch);
    kept.insert(kept.end(), out.data, out.data + out.count());
  }
  void backward(int micro_batch) override { stage_.backward(micro_batch); }
  void close(int micro_batch) override { stage_.close(micro_batch); }

  std::vector<float> kept;  // [samples, T, C]

 private:
  model::GptStage& stage_;
};

// The logits [vocab] of the training forward pass after each token of the samples [T] of `ids`, on
// the last stage. Collective over tensor and pipeline.
class TrainingPass {
 public:
  TrainingPass(Engine& engine, const std::vector<std::vector<std::int32_t>>& sequences)
      : engine_(engine), setup_(engine.stage().setup()) {
    std::vector<std::int32_t> ids;
    for (std::vector<std::int32_t> sequence : sequences) {
      sequence.resize(static_cast<std::size_t>(setup_.length) + 1, 0);
      ids.insert(ids.end(), sequence.begin(), sequence.end());
    }
    model::StepContext context;
    context.training = false;
    engine.stage().begin(context, model::causal_batch(ids, setup_.length));
    KeepingStage keeping(engine.stage());
    parallel::run_schedule(
        parallel::make_forward_schedule(setup_.at.pipeline, setup_.layout.pipeline,
                                        static_cast<int>(sequences.size())),
        keeping, *engine.groups().pipeline);
    outputs_ = std::move(keeping.kept);
  }

  // [T, vocab] of one sample.
  std::vector<float> logits(std::size_t sample) {
    model::Parameters& p = engine_.stage().parameters();
    const std::int64_t c = setup_.config.hidden;
    const std::int64_t t = setup_.length;
    const std::int64_t v = setup_.shards();
    const std::int64_t part = setup_.vocab_per_shard();
    std::vector<float> normed(static_cast<std::size_t>(t * c));
    std::vector<float> statistics(static_cast<std::size_t>(2 * t));
    std::vector<float> all(static_cast<std::size_t>(setup_.numerics.virtual_shards * t * part));
    const model::Stream& stream = engine_.stage().stream();
    const std::int64_t first = static_cast<std::int64_t>(sample) * t * c;
    layernorm(stream, TensorView(outputs_.data() + first, {t, c}),
              p.weight(offset("ln_f.weight"), {c}), p.weight(offset("ln_f.bias"), {c}),
              {normed.data(), {t, c}}, {statistics.data(), {t}}, {statistics.data() + t, {t}});
    matmul_nt(stream, TensorView(normed.data(), {1, 1, t, c}),
              p.weight(engine_.stage().tokens_offset(), {v, part, c}),
              {all.data() + setup_.at.tensor * v * t * part, {1, v, t, part}});
    engine_.groups().tensor->all_gather(std::as_writable_bytes(std::span(all)));
    std::vector<float> rows;
    for (std::int64_t row = 0; row < t; ++row) {
      for (std::int64_t id = 0; id < setup_.config.vocab; ++id) {
        rows.push_back(all[static_cast<std::size_t>((id / part * t + row) * part + id % part)]);
      }
    }
    return rows;
  }

 private:
  std::int64_t offset(const std::string& name) {
    for (const model::ParameterBlock& block : engine_.stage().parameters().blocks()) {
      if (block.tensor.name == name) return block.offset;
    }
    ADD_FAILURE() << name;
    return 0;
  }

  Engine& engine_;
  const model::StageSetup& setup_;
  std::vector<float> outputs_;
};

// How far the sampler's log-probabilities are from the training pass's, whose likeliest token must
// be the drawn one. 0 on stages without a head.
double compare_with_training(Engine& engine, const std::vector<Prompt>& prompts,
                             const std::vector<Continuation>& drawn) {
  std::vector<std::vector<std::int32_t>> sequences;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    sequences.push_back(prompts[i].ids);
    sequences.back().insert(sequences.back().end(), drawn[i].ids.begin(), drawn[i].ids.end());
  }
  TrainingPass pass(engine, sequences);
  if (!engine.stage().setup().is_last()) return 0.0;
  double worst = 0.0;
  const auto vocab = static_cast<std::size_t>(engine.stage().setup().config.vocab);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<float> rows = pass.logits(i);
    for (std::size_t n = 0; n < drawn[i].ids.size(); ++n) {
      const float* row = rows.data() + (prompts[i].ids.size() + n - 1) * vocab;
      const auto likeliest = std::max_element(row, row + vocab) - row;
      EXPECT_EQ(likeliest, drawn[i].ids[n]) << "prompt " << i << ", token " << n;
      double sum = 0.0;
      for (std::size_t id = 0; id < vocab; ++id) sum += std::exp(static_cast<double>(row[id]));
      const double logprob = static_cast<double>(row[drawn[i].ids[n]]) - std::log(sum);
      worst = std::max(worst, std::abs(logprob - static_cast<double>(drawn[i].logprobs[n])));
    }
  }
  return worst;
}

// With 8 slots, by one rank.
const std::vector<Continuation>& reference(bool invariant, bool is_greedy) {
  static const auto run = [](bool invariant_numerics) {
    std::array<std::vector<Continuation>, 2> results;
    const launch::Job job = job_of({1, 1, 1}, invariant_numerics);
    on_ranks(job, [&](int, Engine& engine) {
      Generator generator = make_generator(engine, job, 8);
      results[0] = generator.generate(some_prompts(job), sampled());
      results[1] = generator.generate(some_prompts(job), greedy());
    });
    return results;
  };
  static const auto fast = run(false);
  static const auto fixed = run(true);
  return (invariant ? fixed : fast)[is_greedy ? 1 : 0];
}

struct Row {
  Layout layout;
  bool invariant;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.layout.world_size() << " ranks"; }

std::string name_of(const testing::TestParamInfo<Row>& info) {
  return fmt::format("tp{}_pp{}_{}", info.param.layout.tensor, info.param.layout.pipeline,
                     info.param.invariant ? "invariant" : "fast");
}

class Layouts : public testing::TestWithParam<Row> {};

TEST_P(Layouts, TheCacheGivesWhatRecomputingGives) {
  const Row& row = GetParam();
  const launch::Job job = job_of(row.layout, row.invariant);
  const std::vector<Prompt> prompts = some_prompts(job);
  std::mutex mutex;
  double worst = 0.0;
  on_ranks(job, [&](int rank, Engine& engine) {
    Generator generator = make_generator(engine, job, 8);
    for (const GenerationOptions& options : {greedy(), sampled()}) {
      const auto drawn = generator.generate(prompts, options);
      const auto again = recompute(generator, prompts, drawn, options);
      const bool is_greedy = options.sampler.temperature == 0.0;
      const double apart = is_greedy ? compare_with_training(engine, prompts, drawn) : 0.0;
      const std::lock_guard lock(mutex);
      expect_same(drawn, again, fmt::format("rank {}", rank));
      if (row.invariant) expect_same(drawn, reference(true, is_greedy), "one rank");
      worst = std::max(worst, apart);
    }
  });
  fmt::print("largest difference of a log-probability from the training pass: {:.3g}\n", worst);
  EXPECT_GT(worst, 0.0);
  EXPECT_LT(worst, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Generation, Layouts,
                         testing::Values(Row{{1, 1, 1}, true}, Row{{2, 1, 1}, true},
                                         Row{{1, 2, 1}, true}, Row{{2, 2, 1}, true},
                                         Row{{4, 1, 1}, true}, Row{{1, 1, 1}, false},
                                         Row{{2, 1, 1}, false}, Row{{1, 2, 1}, false},
                                         Row{{2, 2, 1}, false}),
                         name_of);

TEST(Generation, SlotsAndThreadsChangeNoBit) {
  for (const bool invariant : {false, true}) {
    const launch::Job job = job_of({1, 1, 1}, invariant);
    on_ranks(job, [&](int, Engine& engine) {
      for (const int threads : {1, 2}) {
        ThreadPool pool(threads);
        model::Stream stream = engine.stage().stream();
        stream.pool = &pool;
        model::GptStage stage(engine.stage().setup(), *engine.groups().tensor, stream);
        std::copy_n(engine.stage().parameters().weights(), stage.parameters().count(),
                    stage.parameters().weights());
        for (const std::int64_t slots : {1, 8, 64}) {
          Generator generator(stage, *engine.groups().tensor, *engine.groups().pipeline, slots,
                              job.model.context);
          const std::string what = fmt::format("{} slots, {} threads", slots, threads);
          expect_same(generator.generate(some_prompts(job), sampled()), reference(invariant, false),
                      what);
          expect_same(generator.generate(some_prompts(job), greedy()), reference(invariant, true),
                      what);
        }
      }
    });
  }
}

TEST(Generation, EndsAtStopTokensAndLimits) {
  const launch::Job job = job_of({1, 2, 1}, true);
  const std::vector<Prompt> prompts = some_prompts(job);
  const std::vector<Continuation>& whole = reference(true, false);
  GenerationOptions options = sampled();
  options.stop_ids = {whole[0].ids[3], whole[1].ids[0]};
  const auto stops = [&](std::int32_t id) {
    return id == options.stop_ids[0] || id == options.stop_ids[1];
  };
  on_ranks(job, [&](int rank, Engine& engine) {
    Generator generator = make_generator(engine, job, 8);
    std::vector<std::vector<std::int32_t>> heard(prompts.size());
    const auto drawn = generator.generate(
        prompts, options,
        [&](std::size_t prompt, std::int32_t id) { heard[prompt].push_back(id); });
    bool some_stopped = false;
    bool some_went_on = false;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto end = std::find_if(whole[i].ids.begin(), whole[i].ids.end(), stops);
      const bool stopped = end != whole[i].ids.end();
      ASSERT_EQ(drawn[i].stopped, stopped) << rank << " " << i;
      ASSERT_EQ(drawn[i].ids,
                std::vector(whole[i].ids.begin(), stopped ? end + 1 : whole[i].ids.end()));
      ASSERT_EQ(drawn[i].ids, heard[i]) << "the callback of rank " << rank;
      const std::size_t room = static_cast<std::size_t>(job.model.context) - prompts[i].ids.size();
      EXPECT_LE(drawn[i].ids.size(), std::min(room, static_cast<std::size_t>(kNew)));
      if (!stopped) {
        EXPECT_EQ(drawn[i].ids.size(), std::min(room, static_cast<std::size_t>(kNew)));
      }
      some_stopped |= stopped;
      some_went_on |= !stopped;
    }
    EXPECT_TRUE(some_stopped && some_went_on);
  });
}

TEST(Generation, RefusesPromptsWithoutRoom) {
  const launch::Job job = job_of({1, 1, 1}, true);
  on_ranks(job, [&](int, Engine& engine) {
    Generator generator(engine.stage(), *engine.groups().tensor, *engine.groups().pipeline, 2, 10);
    const auto message = [&](std::vector<std::int32_t> ids) -> std::string {
      try {
        generator.generate(std::vector<Prompt>{{{1, 2}, 0}, {std::move(ids), 1}}, greedy());
      } catch (const UsageError& error) {
        return error.what();
      }
      return "";
    };
    EXPECT_NE(message({}).find("prompt 2: no tokens"), std::string::npos);
    EXPECT_NE(message(std::vector<std::int32_t>(10, 1)).find("no room in a sequence of 10"),
              std::string::npos);
    EXPECT_NE(message({1, 199}).find("token 199 is not in the vocabulary of 199"),
              std::string::npos);
    EXPECT_EQ(message(std::vector<std::int32_t>(9, 1)), "");
    EXPECT_EQ(generator.cache_bytes(), 4 * 2 * 2 * 4 * 32 * 16 * 4);
    EXPECT_TRUE(generator.generate({}, greedy()).empty());
  });
}

}  // namespace
}  // namespace talaria::worker
