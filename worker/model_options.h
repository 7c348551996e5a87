// SPDX-License-Identifier: Apache-2.0
// Options that the commands which open a checkpoint share: which model, over which ranks, how its
// tokens are drawn.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "model/sampler.h"
#include "worker/inference_model.h"

namespace talaria::worker {

// --run-dir, --checkpoint, --tokenizer.
void add_model_choice(CLI::App& app, InferenceOptions& options);
// --threads; add_ranks also --tensor and --pipeline.
void add_threads(CLI::App& app, InferenceOptions& options);
void add_ranks(CLI::App& app, InferenceOptions& options);
// --temperature, --top-k, --top-p, --seed.
void add_sampler(CLI::App& app, model::SamplerOptions& options);

// Throws UsageError, naming the command, where neither a run nor a checkpoint is named.
void check_model_choice(const char* command, const InferenceOptions& options);

// Runs `work` on this process alone, or on the ranks of mpirun where there are or may be several.
int on_ranks(bool under_mpirun, const parallel::Layout& layout,
             const std::function<int(parallel::Process*)>& work);

}  // namespace talaria::worker
