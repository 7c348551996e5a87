// SPDX-License-Identifier: Apache-2.0
// bench_ppo: what an iteration of PPO spends on sampling, scoring and updates, in one process, with
// policy, value network, reference and reward model of one shape. One thread, all threads, and all
// threads with the frozen models read anew take turns, so that all see the same moments of a shared
// machine; of every phase the best round counts.
//   bench_ppo [--preset quickstart|tiny] [--threads N] [--rounds N] [--json]
#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "parallel/communicator.h"
#include "tests/support/chat_fixtures.h"
#include "worker/checkpointing.h"
#include "worker/ppo/ppo_task.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string preset = "quickstart";
  int threads = 2;
  int rounds = 5;
  bool json = false;
};

launch::Job make_job(const Options& options, const fs::path& folder) {
  launch::Job job;
  job.job.kind = "ppo";
  job.model = {.layers = 4, .hidden = 256, .heads = 8, .ffn = 1024, .context = 128, .vocab = 512};
  job.ppo.rollout_batch = 32;
  job.ppo.response_tokens = 64;
  job.train.global_batch = 16;
  job.train.micro_batch = 4;
  if (options.preset == "tiny") {
    job.model = {.layers = 2, .hidden = 64, .heads = 4, .ffn = 256, .context = 32, .vocab = 512};
    job.ppo.rollout_batch = 8;
    job.ppo.response_tokens = 16;
    job.train.global_batch = 4;
  }
  job.train.sequence_length = job.model.context;
  job.optimizer.learning_rate = job.ppo.value_learning_rate = 1e-9;
  job.optimizer.decay_steps = 1000;
  job.data.tokenizer = (folder / "tokenizer").string();
  job.data.files = {(folder / "prompts.jsonl").string()};
  job.data.chat = "plain";
  job.data.validation = 0.0;
  job.start.weights = job.start.reference = (folder / "policy" / "step-00000000").string();
  job.start.reward = job.start.value = (folder / "reward" / "step-00000000").string();
  return job;
}

// One process's groups, threads and task.
class Contender {
 public:
  Contender(std::string name, launch::Job job, int threads, bool offload)
      : name_(std::move(name)), pool_(threads), reporter_(std::make_shared<wire::RankStatus>()) {
    job.ppo.offload = offload;
    for (auto* group : {&groups_.world, &groups_.tensor, &groups_.pipeline, &groups_.data}) {
      *group = parallel::make_single_communicator();
    }
    task_ = std::make_unique<PpoTask>(job, false);
    task_->build({0, groups_, pool_, reporter_, {}, task_->tokenizer(), false, origins_});
  }

  // The first iteration over again: the same prompts, and nearly the same responses, as the
  // learning rate is next to nothing.
  void run() {
    const StepReport report = task_->step(0, false);
    if (!report.applied) fail("{}: the loss is not finite", name_);
    for (const auto& [name, value] : report.metrics) {
      const auto [at, is_new] = best_.emplace(name, value);
      if (is_new) continue;
      if (name.starts_with("seconds/")) at->second = std::min(at->second, value);
      if (name == "rollout/tokens_per_second") at->second = std::max(at->second, value);
    }
  }

  const std::string& name() const { return name_; }
  double seconds() const {
    return of("seconds/rollout") + of("seconds/score") + of("seconds/update");
  }
  double of(const std::string& metric) const { return best_.at(metric); }

 private:
  std::string name_;
  Groups groups_;
  ThreadPool pool_;
  Reporter reporter_;
  std::vector<Origin> origins_;
  std::unique_ptr<PpoTask> task_;
  std::map<std::string, double> best_;
};

// Tokenizer, prompts, and checkpoints of a new policy and a new reward model.
void write_files(const launch::Job& job, const fs::path& folder) {
  const storage::Tokenizer tokenizer = test::tiny_tokenizer();
  tokenizer.save(job.data.tokenizer);
  std::ofstream prompts(job.data.files[0]);
  for (int i = 0; i < 256; ++i) {
    prompts << fmt::format("{{\"prompt\":\"What is {}?\"}}\n", i);
  }
  Groups groups;
  for (auto* group : {&groups.world, &groups.tensor, &groups.pipeline, &groups.data}) {
    *group = parallel::make_single_communicator();
  }
  ThreadPool pool(1);
  for (const auto head : {model::HeadKind::kLanguageModel, model::HeadKind::kScalar}) {
    Engine engine(job, 0, groups, pool, {.head = head, .frozen = true});
    TrainingState state;
    state.tokenizer = tokenizer.fingerprint();
    save_weights({"param", engine.stage().parameters().weight_boxes()}, job, state,
                 folder / (head == model::HeadKind::kScalar ? "reward" : "policy"));
  }
}

void print(const std::vector<std::unique_ptr<Contender>>& all, const Options& options) {
  if (!options.json) {
    fmt::print("{:24} {:>10} {:>10} {:>10} {:>10} {:>12} {:>8}\n", "", "rollout, s", "score, s",
               "update, s", "all, s", "tokens/s", "length");
  }
  for (const auto& each : all) {
    const double values[] = {each->of("seconds/rollout"),
                             each->of("seconds/score"),
                             each->of("seconds/update"),
                             each->seconds(),
                             each->of("rollout/tokens_per_second"),
                             each->of("response/length")};
    if (options.json) {
      fmt::print(
          "{{\"benchmark\": \"ppo\", \"preset\": \"{}\", \"run\": \"{}\", "
          "\"rollout_seconds\": {:.5f}, \"score_seconds\": {:.5f}, \"update_seconds\": "
          "{:.5f}, \"seconds\": {:.5f}, \"generated_tokens_per_second\": {:.1f}, "
          "\"response_length\": {:.2f}}}\n",
          options.preset, each->name(), values[0], values[1], values[2], values[3], values[4],
          values[5]);
    } else {
      fmt::print("{:24} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f} {:>12.0f} {:>8.1f}\n", each->name(),
                 values[0], values[1], values[2], values[3], values[4], values[5]);
    }
  }
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Times the phases of PPO's iterations.", "bench_ppo");
  app.add_option("--preset", options.preset)
      ->check(CLI::IsMember({"quickstart", "tiny"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "of the runs with several")->capture_default_str();
  app.add_option("--rounds", options.rounds, "of which the best counts")->capture_default_str();
  app.add_flag("--json", options.json, "one JSON object a line");
  CLI11_PARSE(app, argc, argv);

  const fs::path folder =
      fs::temp_directory_path() / fmt::format("talaria_bench_ppo_{}", ::getpid());
  fs::create_directories(folder);
  const launch::Job job = make_job(options, folder);
  write_files(job, folder);
  std::vector<std::unique_ptr<Contender>> all;
  all.push_back(std::make_unique<Contender>("1 thread", job, 1, false));
  const std::string several = fmt::format("{} threads", options.threads);
  all.push_back(std::make_unique<Contender>(several, job, options.threads, false));
  all.push_back(std::make_unique<Contender>(several + ", offload", job, options.threads, true));
  // The first round allocates.
  for (int round = 0; round <= options.rounds; ++round) {
    for (const auto& each : all) each->run();
  }
  print(all, options);
  fs::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace talaria::worker

int main(int argc, char** argv) {
  try {
    return talaria::worker::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_ppo: {}\n", error.what());
    return 1;
  }
}
