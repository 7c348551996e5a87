// SPDX-License-Identifier: Apache-2.0
// A whole training run with ranks as threads, on made-up tokens: the fast way to ask what a layout
// does.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "launch/job.h"
#include "worker/engine.h"

namespace talaria::worker {

// What one rank counted.
struct RankCounters {
  std::uint64_t matmul_flops = 0;
  model::StageMemory memory;
  std::int64_t real_weights = 0;
  std::int64_t moment_bytes = 0;
  std::uint64_t data_bytes_sent = 0;
  std::int64_t data_bytes_expected = 0;  // by the closed formula
  int max_live = 0;
};

struct EngineRun {
  std::vector<double> losses;
  std::vector<double> grad_norms;
  std::vector<double> evaluation;  // per sample, after the last step
  // Of the evaluation's tokens [samples, T], where the head has them.
  std::vector<float> nll, entropy, values;
  std::map<std::string, std::vector<float>> weights;    // whole logical tensors
  std::map<std::string, std::vector<float>> gradients;  // of the last step, before clipping
  std::vector<RankCounters> ranks;
};

// A small job with every feature on; change what the test is about.
launch::Job small_job();

// The made-up samples: a pure function of (global sample, position).
std::int32_t made_up_token(const launch::Job& job, std::int64_t sample, std::int64_t position);
// Samples [first, first + samples) as pretraining reads them.
model::Batch made_up_batch(const launch::Job& job, std::int64_t first, std::int64_t samples);

// What is trained; else pretraining on made-up samples.
struct EngineTask {
  model::HeadKind head = model::HeadKind::kLanguageModel;
  // Samples [first, first + samples) of the run.
  std::function<model::Batch(const launch::Job&, std::int64_t first, std::int64_t samples)> batch =
      made_up_batch;
  // Step `step` over `batch`; the engine's default where it is empty.
  std::function<StepReport(Engine&, std::int64_t step, const model::Batch& batch)> train = nullptr;
};

// Trains `steps` steps with job.parallel.layout's ranks as threads. `touch` may change an engine
// before the first step (one call a rank).
EngineRun run_engine(const launch::Job& job, int steps,
                     const std::function<void(int rank, Engine&)>& touch = nullptr,
                     const EngineTask& task = {});

}  // namespace talaria::worker
