// SPDX-License-Identifier: Apache-2.0
#include "worker/forward_pass.h"

#include <algorithm>

namespace talaria::worker {

model::Batch part_of_rank(const Engine& engine, const launch::Job& job, std::int64_t rows,
                          const AppendRow& append) {
  const std::int64_t unit = job.parallel.layout.data * job.train.micro_batch;
  const std::int64_t per_rank = (rows + unit - 1) / unit * job.train.micro_batch;
  model::Batch batch;
  batch.length = job.train.sequence_length;
  for (std::int64_t i = 0; i < per_rank; ++i) {
    const std::int64_t row = engine.at().data * per_rank + i;
    append(row < rows ? row : 0, batch);
  }
  return batch;
}

std::vector<std::vector<float>> forward_pass(Engine& engine, const launch::Job& job,
                                             std::int64_t rows, const AppendRow& append,
                                             const std::vector<TokenNumber>& wanted,
                                             float logit_scale) {
  const model::Batch batch = part_of_rank(engine, job, rows, append);
  const std::vector<float> scales(batch.inputs.size(), logit_scale);
  model::PassObjective objective;
  objective.entropy =
      std::find(wanted.begin(), wanted.end(), TokenNumber::kEntropy) != wanted.end();
  objective.logit_scales = scales;
  engine.evaluate(batch, objective);
  std::vector<std::vector<float>> numbers;
  for (const TokenNumber each : wanted) {
    const model::GptStage& stage = engine.stage();
    numbers.push_back(engine.gather(each == TokenNumber::kNll       ? stage.token_nll()
                                    : each == TokenNumber::kEntropy ? stage.token_entropy()
                                                                    : stage.token_values()));
    numbers.back().resize(static_cast<std::size_t>(rows * job.train.sequence_length));
  }
  return numbers;
}

}  // namespace talaria::worker
