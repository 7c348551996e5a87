// SPDX-License-Identifier: Apache-2.0
#include "worker/generate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "launch/job.h"
#include "model/gpt_stage.h"
#include "parallel/communicator.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"
#include "storage/text/tokenizer.h"
#include "worker/checkpointing.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  fs::path run_directory;
  fs::path checkpoint;
  fs::path tokenizer;
  std::string prompt;
  std::int64_t tokens = 200;
  double temperature = 0.8;
  std::int64_t top_k = 40;
  std::uint64_t seed = 1;
  int threads = 0;
};

fs::path choose_checkpoint(const GenerateOptions& options, ThreadPool& pool) {
  if (!options.checkpoint.empty()) return options.checkpoint;
  const fs::path root = options.run_directory / "checkpoints";
  const storage::Restored restored = storage::find_restorable(root, pool);
  for (const storage::Skipped& each : restored.skipped) {
    log_warning("{}: {}", each.path.string(), each.reason);
  }
  if (!restored.checkpoint) {
    fail_usage("{}: no checkpoint that verifies; train first, or name one with --checkpoint",
               root.string());
  }
  return restored.checkpoint->path;
}

model::StageSetup single_rank_setup(const launch::Job& job, std::int64_t wanted_length) {
  model::StageSetup setup;
  setup.config = job.model;
  setup.last_layer = job.model.layers;
  // The forward pass is as long as it must be: prompt and answer, at most the context.
  setup.length = std::min(wanted_length, job.model.context);
  return setup;
}

// Draws from softmax(logits / temperature) over the top_k largest. A pure function of (seed,
// position): Philox word 0 of (position, 0, 0, 0).
std::int32_t sample(const std::vector<float>& logits, const GenerateOptions& options,
                    std::int64_t position) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto kept = options.temperature == 0.0 ? 1
                    : options.top_k == 0
                        ? order.size()
                        : std::min(order.size(), static_cast<std::size_t>(options.top_k));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      const float x = logits[static_cast<std::size_t>(a)];
                      const float y = logits[static_cast<std::size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  if (kept == 1) return order[0];
  std::vector<double> weights(kept);
  const double top = logits[static_cast<std::size_t>(order[0])];
  for (std::size_t i = 0; i < kept; ++i) {
    weights[i] = std::exp((logits[static_cast<std::size_t>(order[i])] - top) / options.temperature);
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const model::PhiloxBlock words =
      model::philox4x32({static_cast<std::uint32_t>(position), 0, 0, 0}, options.seed);
  double left = static_cast<double>(words[0]) * 0x1p-32 * total;
  for (std::size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0.0) return order[i];
  }
  return order[kept - 1];
}

int generate(const GenerateOptions& options) {
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  ThreadPool pool(threads);
  const fs::path checkpoint = choose_checkpoint(options, pool);
  const TrainingState state = read_training_state(checkpoint);
  const launch::Job job =
      launch::parse_job(ConfigFile::parse(state.job_toml, (checkpoint / "manifest.json").string()));
  const fs::path folder =
      options.tokenizer.empty() ? fs::path(job.data.tokenizer) : options.tokenizer;
  const storage::Tokenizer tokenizer = storage::Tokenizer::load(folder);
  if (tokenizer.vocab_size() > job.model.vocab) {
    fail_usage(
        "{}: {} tokens, but the model of {} knows {}; name the tokenizer it was trained with",
        folder.string(), tokenizer.vocab_size(), checkpoint.string(), job.model.vocab);
  }
  std::vector<std::int32_t> ids = tokenizer.encode(options.prompt);
  // An empty prompt is the beginning of a document.
  if (ids.empty()) ids.push_back(tokenizer.end_of_text());
  const auto wanted = static_cast<std::int64_t>(ids.size()) + options.tokens;
  const auto single = parallel::make_single_communicator();
  model::Stream stream;
  stream.pool = &pool;
  stream.split_products = true;
  model::GptStage stage(single_rank_setup(job, wanted), *single, stream);
  const storage::CheckpointReader reader(checkpoint);
  reader.read("param", stage.parameters().weight_boxes());

  std::fputs(options.prompt.c_str(), stdout);
  const auto window = static_cast<std::size_t>(stage.setup().length);
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const std::size_t from = ids.size() > window ? ids.size() - window : 0;
    std::vector<float> logits = stage.next_logits(std::span(ids).subspan(from));
    logits.resize(static_cast<std::size_t>(tokenizer.vocab_size()));
    const std::int32_t id = sample(logits, options, i);
    if (id == tokenizer.end_of_text()) break;
    ids.push_back(id);
    const std::string_view bytes = tokenizer.bytes_of(id);
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    std::fflush(stdout);
  }
  std::fputs("\n", stdout);
  return kExitDone;
}

}  // namespace

int generate_command(int argc, char** argv) {
  GenerateOptions options;
  CLI::App app("Continues a prompt with the model of a checkpoint. The text goes to stdout.",
               argv[0]);
  auto* run =
      app.add_option("--run-dir", options.run_directory, "a run: its newest valid checkpoint");
  auto* checkpoint = app.add_option("--checkpoint", options.checkpoint, "a checkpoint folder");
  run->excludes(checkpoint);
  app.add_option("--tokenizer", options.tokenizer, "tokenizer folder; default: the job file's");
  app.add_option("--prompt", options.prompt, "text to continue; empty: a new document");
  app.add_option("--tokens", options.tokens, "most tokens to generate")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", options.top_k, "draw from the k likeliest; 0: from all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "the same seed draws the same text")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "default: all cores")->check(CLI::Range(1, 4096));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (run->count() + checkpoint->count() == 0) {
    fail_usage("{}: name a run with --run-dir or a checkpoint with --checkpoint", argv[0]);
  }
  return generate(options);
}

}  // namespace talaria::worker
