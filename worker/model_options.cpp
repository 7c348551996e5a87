// SPDX-License-Identifier: Apache-2.0
#include "worker/model_options.h"

#include "cluster/base/error.h"

namespace talaria::worker {

void add_model_choice(CLI::App& app, InferenceOptions& options) {
  auto* run = app.add_option("--run-dir", options.run_directory,
                             "a run: what it hands on, else its newest valid checkpoint");
  auto* checkpoint = app.add_option("--checkpoint", options.checkpoint, "a checkpoint folder");
  run->excludes(checkpoint);
  app.add_option("--tokenizer", options.tokenizer, "tokenizer folder; default: the job file's");
}

void add_threads(CLI::App& app, InferenceOptions& options) {
  app.add_option("--threads", options.threads, "of each rank; default: its share of cores")
      ->check(CLI::Range(1, 4096));
}

void add_ranks(CLI::App& app, InferenceOptions& options) {
  app.add_option("--tensor", options.layout.tensor, "ranks that share each layer")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--pipeline", options.layout.pipeline,
                 "ranks that share the layers out; start with mpirun -n TENSOR*PIPELINE")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_threads(app, options);
}

void add_sampler(CLI::App& app, model::SamplerOptions& options) {
  app.add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", options.top_k, "draw from the k likeliest; 0: from all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--top-p", options.top_p,
                 "and from the fewest whose probabilities reach p; 1: from all")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "the same seed draws the same text")
      ->capture_default_str();
}

void check_model_choice(const char* command, const InferenceOptions& options) {
  if (!options.run_directory.empty() || !options.checkpoint.empty()) return;
  fail_usage("{}: name a run with --run-dir or a checkpoint with --checkpoint", command);
}

int on_ranks(bool under_mpirun, const parallel::Layout& layout,
             const std::function<int(parallel::Process*)>& work) {
  if (!under_mpirun && layout.world_size() == 1) return work(nullptr);
  parallel::Process process;
  return process.run([&] { return work(&process); });
}

}  // namespace talaria::worker
