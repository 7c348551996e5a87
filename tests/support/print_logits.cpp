// SPDX-License-Identifier: Apache-2.0
// print_logits CHECKPOINT OUT ID...: the logits after each of the ids, given all before it, as f32
// [ids, vocabulary]. For tests that compare them with another program's.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "launch/job.h"
#include "model/gpt_stage.h"
#include "parallel/communicator.h"
#include "storage/checkpoint/reader.h"
#include "worker/checkpointing.h"

namespace talaria::worker {
namespace {

void print_logits(const std::filesystem::path& checkpoint, const std::string& out,
                  const std::vector<std::int32_t>& ids) {
  const TrainingState state = read_training_state(checkpoint);
  const launch::Job job = launch::parse_job(ConfigFile::parse(state.job_toml, "job"));
  model::StageSetup setup;
  setup.config = job.model;
  setup.last_layer = job.model.layers;
  setup.length = static_cast<std::int64_t>(ids.size());
  const auto single = parallel::make_single_communicator();
  ThreadPool pool(1);
  model::Stream stream;
  stream.pool = &pool;
  model::GptStage stage(setup, *single, stream);
  storage::CheckpointReader(checkpoint).read("param", stage.parameters().weight_boxes());
  std::vector<std::int32_t> padded = ids;
  padded.push_back(0);  // a target that nobody asks for
  model::StepContext context;
  context.training = false;
  stage.begin(context, model::causal_batch(padded, setup.length));
  stage.open(0);
  stage.forward(0);
  const ConstTensorView logits = stage.infer_logits(stage.output(0));  // [1, T, padded vocabulary]
  std::string bytes;
  for (std::int64_t t = 0; t < setup.length; ++t) {
    bytes.append(reinterpret_cast<const char*>(logits.data + t * logits.dim(2)),
                 static_cast<std::size_t>(job.model.vocab) * sizeof(float));
  }
  write_file_atomic(out, bytes);
}

}  // namespace
}  // namespace talaria::worker

int main(int argc, char** argv) {
  if (argc < 4) return talaria::kExitUsage;
  try {
    std::vector<std::int32_t> ids;
    for (int i = 3; i < argc; ++i) ids.push_back(std::atoi(argv[i]));
    talaria::worker::print_logits(argv[1], argv[2], ids);
    return talaria::kExitDone;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
}
