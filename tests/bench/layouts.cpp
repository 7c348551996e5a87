// SPDX-License-Identifier: Apache-2.0
// bench_layouts: what each layout costs, and what `invariant` numerics cost against `fast`: the
// real talaria-worker under mpirun on one small job, one thread a rank, beside one rank with two
// threads. All runs of a round follow each other, so that a busy machine is unfair to none of them.
//   bench_layouts [--repeats N] [--steps N] [--micro-batch N] [--json]
#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

// kLayoutsModel's step: 12 samples of 256 tokens.
constexpr double kStepTokens = 12 * 256;
constexpr double kTimeout = 300;

struct Options {
  int repeats = 2;
  int steps = 6;
  std::int64_t micro_batch = 2;
  bool json = false;
};

struct Row {
  parallel::Layout layout;
  int threads;
  double fast = 0.0;  // tokens/s, the best of the rounds
  double invariant = 0.0;

  std::string name() const {
    return fmt::format("({},{},{})", layout.tensor, layout.pipeline, layout.data);
  }
};

// The first row is what all others are compared with.
std::vector<Row> all_rows() {
  std::vector<Row> rows = {{{1, 1, 1}, 2}};
  for (const parallel::Layout& layout : std::vector<parallel::Layout>{
           {1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 2, 2}, {4, 2, 1}}) {
    rows.push_back({layout, 1});
  }
  return rows;
}

// Tokens a second of one run: its median step without the first, which allocates.
double tokens_per_second(const JobFolder& jobs, const Row& row, bool invariant,
                         const Options& options) {
  RunPlan plan;
  plan.layout = row.layout;
  plan.threads = row.threads;
  plan.micro_batch = options.micro_batch;
  plan.invariant = invariant;
  plan.set = {fmt::format("train.steps={}", options.steps), "train.eval_every=0",
              "train.eval_samples=2"};
  fs::remove_all(jobs.path() / "run");
  const ChildResult result = jobs.run("run", plan, kTimeout);
  if (result.exit_code != 0) {
    fail("{} {}: exit code {}: {}", row.name(), invariant ? "invariant" : "fast", result.exit_code,
         result.output);
  }
  std::vector<double> seconds;
  for (const auto& [step, value] : jobs.metric("run", "step_seconds")) {
    if (step > 1) seconds.push_back(std::stod(value));
  }
  if (seconds.empty()) fail("{}: no step was recorded", row.name());
  std::sort(seconds.begin(), seconds.end());
  return kStepTokens / seconds[seconds.size() / 2];
}

std::vector<Row> measure(const JobFolder& jobs, const Options& options) {
  std::vector<Row> rows = all_rows();
  for (int round = 0; round < options.repeats; ++round) {
    for (Row& row : rows) {
      fmt::print(stderr, "round {} of {}: {}\n", round + 1, options.repeats, row.name());
      row.fast = std::max(row.fast, tokens_per_second(jobs, row, false, options));
      row.invariant = std::max(row.invariant, tokens_per_second(jobs, row, true, options));
    }
  }
  return rows;
}

void print_table(const std::vector<Row>& rows, const Options& options) {
  fmt::print(
      "4 layers, 256 channels, 8 heads, T 256, 12 samples a step in micro-batches of {}; {} cores; "
      "tokens/s of the median step of {}, best of {} runs\n",
      options.micro_batch, std::thread::hardware_concurrency(), options.steps - 1, options.repeats);
  fmt::print("{:<11} {:>7} {:>10} {:>11} {:>15} {:>18} {:>23}\n", "(tp,pp,dp)", "threads", "fast",
             "invariant", "invariant/fast", "fast/one rank", "invariant/one rank");
  for (const Row& row : rows) {
    fmt::print("{:<11} {:>7} {:>10.0f} {:>11.0f} {:>15.2f} {:>18.2f} {:>23.2f}\n", row.name(),
               row.threads, row.fast, row.invariant, row.invariant / row.fast,
               row.fast / rows[0].fast, row.invariant / rows[0].invariant);
  }
  fmt::print("threads: of each rank. one rank: (1,1,1) with two threads, the same numerics.\n");
}

void print_json(const std::vector<Row>& rows, const Options& options) {
  fmt::print(
      "{{\"benchmark\": \"layouts\", \"cores\": {}, \"repeats\": {}, \"steps\": {}, "
      "\"micro_batch\": {}, \"rows\": [",
      std::thread::hardware_concurrency(), options.repeats, options.steps, options.micro_batch);
  for (const Row& row : rows) {
    fmt::print(
        "{}\n  {{\"tensor\": {}, \"pipeline\": {}, \"data\": {}, \"threads_per_rank\": {}, "
        "\"fast_tokens_per_second\": {:.6g}, \"invariant_tokens_per_second\": {:.6g}, "
        "\"invariant_to_fast\": {:.4f}, \"fast_to_one_rank\": {:.4f}, "
        "\"invariant_to_one_rank\": {:.4f}}}",
        &row == rows.data() ? "" : ",", row.layout.tensor, row.layout.pipeline, row.layout.data,
        row.threads, row.fast, row.invariant, row.invariant / row.fast, row.fast / rows[0].fast,
        row.invariant / rows[0].invariant);
  }
  fmt::print("\n]}}\n");
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Tokens a second of each layout, in fast and in invariant numerics.");
  app.add_option("--repeats", options.repeats, "runs of each case; the best counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "steps of a run; the first does not count")
      ->check(CLI::Range(2, 10000))
      ->capture_default_str();
  app.add_option("--micro-batch", options.micro_batch, "samples")
      ->check(CLI::IsMember({1, 2, 3, 6}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "one record instead of the table");
  CLI11_PARSE(app, argc, argv);
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("talaria_bench_layouts_{}", ::getpid());
  const JobFolder jobs(folder, kLayoutsModel);
  const std::vector<Row> rows = measure(jobs, options);
  options.json ? print_json(rows, options) : print_table(rows, options);
  fs::remove_all(folder);
  return kExitDone;
}

}  // namespace
}  // namespace talaria::worker

int main(int argc, char** argv) {
  try {
    return talaria::worker::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
}
