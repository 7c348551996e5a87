// SPDX-License-Identifier: Apache-2.0
#include "worker/samples.h"

#include <algorithm>
#include <span>
#include <vector>

#include "storage/text/tokenizer.h"

namespace talaria::worker {

storage::Dataset open_dataset(const launch::Job& job) {
  storage::DatasetConfig config;
  for (const launch::DataSource& source : job.data.sources) {
    config.sources.push_back({source.path, source.weight});
  }
  config.validation = job.data.validation;
  config.seed = job.job.seed;
  config.sequence_length = job.train.sequence_length;
  config.vocab = job.model.vocab;
  storage::Dataset data(config);
  data.set_token_bytes(storage::Tokenizer::load(job.data.tokenizer).token_lengths());
  return data;
}

namespace {

std::span<std::int32_t> sample_span(std::vector<std::int32_t>& ids, std::int64_t sample,
                                    std::int64_t width) {
  return std::span(ids).subspan(static_cast<std::size_t>(sample * width),
                                static_cast<std::size_t>(width));
}

}  // namespace

model::Batch training_batch(const storage::Dataset& data, const launch::Job& job, std::int64_t step,
                            std::int64_t first) {
  const std::int64_t width = job.train.sequence_length + 1;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(job.samples_per_rank() * width));
  for (std::int64_t s = 0; s < job.samples_per_rank(); ++s) {
    data.training_sample(step * job.train.global_batch + first + s, sample_span(ids, s, width));
  }
  return model::causal_batch(ids, job.train.sequence_length);
}

EvaluationPlan plan_evaluation(const storage::Dataset& data, const launch::Job& job) {
  EvaluationPlan plan;
  plan.samples = std::min(job.train.eval_samples, data.validation_samples());
  const std::int64_t unit = job.parallel.layout.data * job.train.micro_batch;
  plan.per_rank = (plan.samples + unit - 1) / unit * job.train.micro_batch;
  return plan;
}

model::Batch evaluation_batch(const storage::Dataset& data, const launch::Job& job,
                              const EvaluationPlan& plan, int data_rank) {
  const std::int64_t width = job.train.sequence_length + 1;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(plan.per_rank * width));
  for (std::int64_t s = 0; s < plan.per_rank; ++s) {
    const std::int64_t index = data_rank * plan.per_rank + s;
    data.validation_sample(index < plan.samples ? index : 0, sample_span(ids, s, width));
  }
  return model::causal_batch(ids, job.train.sequence_length);
}

}  // namespace talaria::worker
