// SPDX-License-Identifier: Apache-2.0
#include "tests/support/local_engine.h"

#include <algorithm>
#include <mutex>
#include <span>

#include "parallel/comm/local.h"
#include "tests/support/run_ranks.h"

namespace talaria::worker {
namespace {

using parallel::Coordinate;
using parallel::Layout;

// All groups of one axis, made before the threads start: group number -> members.
struct AxisGroups {
  std::map<std::vector<int>, std::vector<std::unique_ptr<parallel::Communicator>>> groups;

  std::unique_ptr<parallel::Communicator> take(const std::vector<int>& ranks, int rank) {
    auto& members = groups[ranks];
    if (members.empty())
      members = parallel::make_local_communicators(static_cast<int>(ranks.size()));
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank) return std::move(members[i]);
    }
    return nullptr;
  }
};

std::vector<Groups> make_all_groups(const Layout& layout) {
  AxisGroups tensor;
  AxisGroups pipeline;
  AxisGroups data;
  auto world = parallel::make_local_communicators(layout.world_size());
  std::vector<Groups> all;
  for (int rank = 0; rank < layout.world_size(); ++rank) {
    const Coordinate at = parallel::coordinate_of(layout, rank);
    Groups groups;
    groups.world = std::move(world[static_cast<std::size_t>(rank)]);
    groups.tensor = tensor.take(parallel::tensor_group(layout, at), rank);
    groups.pipeline = pipeline.take(parallel::pipeline_group(layout, at), rank);
    groups.data = data.take(parallel::data_group(layout, at), rank);
    all.push_back(std::move(groups));
  }
  return all;
}

void paste(const std::vector<parallel::NamedBox>& boxes,
           std::map<std::string, std::vector<float>>& tensors) {
  for (const parallel::NamedBox& named : boxes) {
    std::vector<float>& whole = tensors[named.tensor];
    whole.resize(static_cast<std::size_t>(named.global[0] * named.global[1]));
    for (std::int64_t r = 0; r < named.box.extent[0]; ++r) {
      for (std::int64_t c = 0; c < named.box.extent[1]; ++c) {
        whole[static_cast<std::size_t>((named.box.offset[0] + r) * named.global[1] +
                                       named.box.offset[1] + c)] =
            named.data[r * named.box.extent[1] + c];
      }
    }
  }
}

// Lays a rank's numbers into those of all ranks; several tensor ranks bring the same.
void lay(std::span<const float> part, std::size_t at, std::vector<float>& all) {
  if (part.empty()) return;
  all.resize(std::max(all.size(), at + part.size()));
  std::copy(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

launch::Job small_job() {
  launch::Job job;
  job.job.name = "small";
  job.job.seed = 7;
  job.job.numerics = {true, 4, 4};
  job.model = {.layers = 4, .hidden = 64, .heads = 4, .ffn = 256, .context = 32, .vocab = 199};
  job.train.global_batch = 8;
  job.train.micro_batch = 1;
  job.train.sequence_length = 32;
  job.train.dropout = 0.1;
  job.optimizer.learning_rate = 1e-2;
  job.optimizer.min_learning_rate = 1e-3;
  job.optimizer.warmup_steps = 2;
  job.optimizer.decay_steps = 20;
  return job;
}

std::int32_t made_up_token(const launch::Job& job, std::int64_t sample, std::int64_t position) {
  // A pattern that can be learned, and noise.
  const model::PhiloxBlock words = model::philox4x32(
      {static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position), 0, 0}, 99);
  const auto vocab = static_cast<std::uint32_t>(job.model.vocab);
  if (words[1] % 4 == 0) return static_cast<std::int32_t>(words[0] % vocab);
  return static_cast<std::int32_t>((position * 7 + 3) % job.model.vocab);
}

model::Batch made_up_batch(const launch::Job& job, std::int64_t first, std::int64_t samples) {
  std::vector<std::int32_t> ids;
  for (std::int64_t s = 0; s < samples; ++s) {
    for (std::int64_t t = 0; t <= job.train.sequence_length; ++t) {
      ids.push_back(made_up_token(job, first + s, t));
    }
  }
  return model::causal_batch(ids, job.train.sequence_length);
}

EngineRun run_engine(const launch::Job& job, int steps,
                     const std::function<void(int, Engine&)>& touch, const EngineTask& task) {
  const Layout& layout = job.parallel.layout;
  std::vector<Groups> all = make_all_groups(layout);
  EngineRun run;
  run.ranks.resize(static_cast<std::size_t>(layout.world_size()));
  std::mutex mutex;
  parallel::run_ranks(
      layout.world_size(),
      [&](int rank, parallel::Communicator&) {
        ThreadPool pool(job.cluster.threads_per_rank);
        Engine engine(job, rank, all[static_cast<std::size_t>(rank)], pool, {.head = task.head});
        if (touch) touch(rank, engine);
        RankCounters counters;
        const std::uint64_t bytes_before = engine.groups().data->counters().bytes_sent;
        for (int step = 0; step < steps; ++step) {
          const std::int64_t first = step * job.train.global_batch + engine.first_sample();
          const model::Batch batch = task.batch(job, first, job.samples_per_rank());
          const StepReport report =
              task.train ? task.train(engine, step, batch) : engine.train_step(step, batch, false);
          counters.max_live = std::max(counters.max_live, report.max_live);
          if (rank == 0) {
            run.losses.push_back(report.loss);
            run.grad_norms.push_back(report.grad_norm);
          }
        }
        counters.data_bytes_sent = engine.groups().data->counters().bytes_sent - bytes_before;
        counters.data_bytes_expected = engine.optimizer().data_bytes_per_step() * steps;
        counters.matmul_flops = engine.matmul_flops();
        counters.memory = engine.stage().memory();
        counters.real_weights = engine.stage().parameters().real_count();
        counters.moment_bytes = engine.optimizer().moment_bytes();

        const std::int64_t per_rank = 8 / layout.data;
        const std::int64_t first = 1000000 + engine.at().data * per_rank;
        const auto evaluation =
            engine.evaluate(task.batch(job, first, per_rank), {.entropy = true});
        const std::lock_guard lock(mutex);
        if (rank == 0) run.evaluation = evaluation;
        const auto at =
            static_cast<std::size_t>(engine.at().data * per_rank * job.train.sequence_length);
        lay(engine.stage().token_nll(), at, run.nll);
        lay(engine.stage().token_entropy(), at, run.entropy);
        lay(engine.stage().token_values(), at, run.values);
        run.ranks[static_cast<std::size_t>(rank)] = counters;
        paste(engine.optimizer().owned_weights(), run.weights);
        std::vector<parallel::NamedBox> gradients = engine.optimizer().owned_weights();
        model::Parameters& parameters = engine.stage().parameters();
        for (parallel::NamedBox& box : gradients) {
          box.data = parameters.gradients() + (box.data - parameters.weights());
        }
        paste(gradients, run.gradients);
      },
      300);
  return run;
}

}  // namespace talaria::worker
