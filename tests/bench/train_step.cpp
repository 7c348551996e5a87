// SPDX-License-Identifier: Apache-2.0
// bench_train_step: how fast one process trains a GPT on made-up tokens, beside the matrix peak of
// the same run, and where a step's time goes. Whole steps give the figures; then one more step is
// taken apart.
//   bench_train_step [--preset gpt2-124m|quickstart] [--numerics fast|invariant] [--threads N]
//                    [--steps N] [--batch N] [--json]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "model/cpu/isa.h"
#include "parallel/runner.h"
#include "tests/support/local_engine.h"
#include "worker/peak.h"

namespace talaria::worker {
namespace {

struct Options {
  std::string preset = "gpt2-124m";
  std::string numerics = "fast";
  int threads = 0;         // 0: all cores
  std::int64_t steps = 0;  // 0: the preset's
  std::int64_t batch = 0;  // 0: the preset's
  bool json = false;
};

int cores() { return static_cast<int>(std::max(1U, std::thread::hardware_concurrency())); }

launch::Job make_job(const Options& options) {
  launch::Job job;
  job.job.name = options.preset;
  job.job.seed = 1;
  if (options.preset == "quickstart") {
    job.model = {
        .layers = 4, .hidden = 256, .heads = 8, .ffn = 1024, .context = 128, .vocab = 2048};
    job.train.global_batch = 32;
    job.train.micro_batch = 4;
    job.train.dropout = 0.05;
    job.train.steps = 20;
  } else {
    job.model = {};
    job.train.global_batch = 2;
    job.train.steps = 4;
  }
  job.train.sequence_length = job.model.context;
  if (options.batch > 0) {
    job.train.global_batch = options.batch;
    job.train.micro_batch = std::min(job.train.micro_batch, options.batch);
    if (options.batch % job.train.micro_batch != 0) job.train.micro_batch = 1;
  }
  if (options.steps > 0) job.train.steps = options.steps;
  job.optimizer.warmup_steps = 1;
  job.optimizer.decay_steps = job.train.steps + 2;
  // V = 4 is the most that 12 heads allow and what four tensor ranks need. One group of samples is
  // one accumulator, as in `fast`.
  if (options.numerics == "invariant") job.job.numerics = {true, 4, 1};
  return job;
}

model::Batch made_up_batch(const launch::Job& job, std::int64_t step) {
  std::vector<std::int32_t> ids;
  for (std::int64_t s = 0; s < job.train.global_batch; ++s) {
    for (std::int64_t t = 0; t <= job.train.sequence_length; ++t) {
      ids.push_back(made_up_token(job, step * job.train.global_batch + s, t));
    }
  }
  return model::causal_batch(ids, job.train.sequence_length);
}

// Hands everything on to a stage and adds up the time of its two passes.
class TimedStage : public parallel::Stage {
 public:
  explicit TimedStage(parallel::Stage& stage) : stage_(stage) {}

  TensorView input(int micro_batch) override { return stage_.input(micro_batch); }
  TensorView output(int micro_batch) override { return stage_.output(micro_batch); }
  TensorView output_gradient(int micro_batch) override {
    return stage_.output_gradient(micro_batch);
  }
  TensorView input_gradient(int micro_batch) override { return stage_.input_gradient(micro_batch); }
  void open(int micro_batch) override { stage_.open(micro_batch); }
  void forward(int micro_batch) override {
    const double start = monotonic_seconds();
    stage_.forward(micro_batch);
    forward_seconds += monotonic_seconds() - start;
  }
  void backward(int micro_batch) override {
    const double start = monotonic_seconds();
    stage_.backward(micro_batch);
    backward_seconds += monotonic_seconds() - start;
  }
  void close(int micro_batch) override { stage_.close(micro_batch); }

  double forward_seconds = 0.0;
  double backward_seconds = 0.0;

 private:
  parallel::Stage& stage_;
};

struct Part {
  const char* name;
  double seconds;
};

// One step in the pieces that Engine::train_step puts together, on one rank. The last part is the
// whole.
std::vector<Part> take_apart(Engine& engine, const launch::Job& job) {
  const model::Batch batch = made_up_batch(job, job.train.steps + 1);
  model::GptStage& stage = engine.stage();
  model::Optimizer& optimizer = engine.optimizer();
  std::vector<Part> parts;
  const double begin = monotonic_seconds();
  double last = begin;
  const auto lap = [&](const char* name) {
    const double now = monotonic_seconds();
    parts.push_back({name, now - last});
    last = now;
  };
  model::StepContext context;
  context.step = static_cast<std::uint32_t>(job.train.steps + 1);
  context.seed = job.job.seed;
  context.dropout = job.train.dropout;
  model::CrossEntropyObjective objective(batch.weights,
                                         1.0F / static_cast<float>(batch.weights.size()));
  stage.begin(context, batch, {.tokens = &objective});
  lap("begin");
  TimedStage timed(stage);
  parallel::run_schedule(
      parallel::make_schedule(job.parallel.schedule, 0, 1, static_cast<int>(job.micro_batches())),
      timed, *engine.groups().pipeline);
  last = monotonic_seconds();
  parts.push_back({"forward", timed.forward_seconds});
  parts.push_back({"backward", timed.backward_seconds});
  stage.finish();
  optimizer.reduce_gradients();
  lap("gradient sums");
  const double norm = std::sqrt(optimizer.norm_part().sum_of_squares.value());
  lap("global norm");
  optimizer.apply(1e-5, norm);
  lap("AdamW");
  const double whole = monotonic_seconds() - begin;
  double known = 0.0;
  for (const Part& part : parts) known += part.seconds;
  parts.push_back({"rest", whole - known});
  parts.push_back({"whole", whole});
  return parts;
}

struct Result {
  double peak = 0.0;  // FLOP/s
  std::vector<double> seconds;
  std::vector<Part> parts;
  double issued_flops = 0.0;  // of one step's matrix products, as counted
  std::int64_t peak_rss = 0;  // bytes

  double best() const { return *std::min_element(seconds.begin(), seconds.end()); }
  double median() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

// The most memory that this process held since forget_peak_rss, or since its start where the kernel
// does not let that be forgotten.
std::int64_t peak_rss() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  struct rusage usage = {};
  check_sys(::getrusage(RUSAGE_SELF, &usage), "getrusage", "self");
  return usage.ru_maxrss * 1024;
}
void forget_peak_rss() { std::ofstream("/proc/self/clear_refs") << "5"; }

Result measure(const Options& options, const launch::Job& job) {
  Result result;
  result.peak = measure_matrix_peak(cores(), true);
  forget_peak_rss();
  {
    ThreadPool pool(options.threads > 0 ? options.threads : cores());
    Groups groups{parallel::make_single_communicator(), parallel::make_single_communicator(),
                  parallel::make_single_communicator(), parallel::make_single_communicator()};
    Engine engine(job, 0, groups, pool);
    // The first step allocates and lets the library build its kernels.
    for (std::int64_t step = 0; step <= job.train.steps; ++step) {
      const model::Batch batch = made_up_batch(job, step);
      const std::uint64_t flops = engine.matmul_flops();
      const double start = monotonic_seconds();
      const StepReport report = engine.train_step(step, batch, false);
      const double seconds = monotonic_seconds() - start;
      if (!report.applied) fail("step {}: the loss is not finite", step);
      if (step > 0) result.seconds.push_back(seconds);
      result.issued_flops = static_cast<double>(engine.matmul_flops() - flops);
    }
    result.parts = take_apart(engine, job);
    result.peak_rss = peak_rss();
  }
  result.peak = std::max(result.peak, measure_matrix_peak(cores(), true));
  return result;
}

struct Figures {
  double tokens, flops, causal_flops;  // of a step
};
Figures figures_of(const launch::Job& job) {
  const std::int64_t tokens = job.train.global_batch * job.train.sequence_length;
  return {static_cast<double>(tokens),
          model::step_flops(job.model, tokens, job.train.sequence_length),
          model::step_flops(job.model, tokens, job.train.sequence_length, true)};
}

void print_table(const Options& options, const launch::Job& job, const Result& result) {
  const Figures figures = figures_of(job);
  fmt::print("{}: {} layers, {} channels, {} heads, T {}, vocabulary {}: {:.1f} M parameters\n",
             options.preset, job.model.layers, job.model.hidden, job.model.heads,
             job.train.sequence_length, job.model.vocab,
             static_cast<double>(job.model.parameters()) * 1e-6);
  fmt::print("{} numerics, {} threads, {} samples a step in micro-batches of {}, {}, oneDNN {}\n",
             options.numerics, options.threads > 0 ? options.threads : cores(),
             job.train.global_batch, job.train.micro_batch, model::cpu::cpu_kernels_isa(),
             model::cpu::onednn_version());
  fmt::print("matrix peak of this run, {} cores: {:.1f} GFLOP/s\n\n", cores(), result.peak * 1e-9);
  fmt::print("{:<10} {:>12} {:>10} {:>10} {:>8} {:>18}\n", "", "seconds/step", "tokens/s",
             "GFLOP/s", "MFU", "MFU, causal half");
  const auto row = [&](const std::string& name, double seconds) {
    fmt::print("{:<10} {:>12.3f} {:>10.1f} {:>10.1f} {:>7.1f}% {:>17.1f}%\n", name, seconds,
               figures.tokens / seconds, figures.flops / seconds * 1e-9,
               100.0 * figures.flops / seconds / result.peak,
               100.0 * figures.causal_flops / seconds / result.peak);
  };
  row("best", result.best());
  row(fmt::format("median/{}", result.seconds.size()), result.median());
  fmt::print("peak memory {:.0f} MB; matrix FLOPs issued {:.2f} x those of the model\n\n",
             static_cast<double>(result.peak_rss) * 1e-6, result.issued_flops / figures.flops);
  fmt::print("one more step, taken apart\n");
  const double whole = result.parts.back().seconds;
  for (const Part& part : result.parts) {
    fmt::print("  {:<14} {:>9.3f} s {:>6.1f}%\n", part.name, part.seconds,
               100.0 * part.seconds / whole);
  }
}

void print_json(const Options& options, const launch::Job& job, const Result& result) {
  const Figures figures = figures_of(job);
  fmt::print(
      "{{\"benchmark\": \"train_step\", \"preset\": \"{}\", \"numerics\": \"{}\", \"threads\": {}, "
      "\"isa\": \"{}\", \"onednn\": \"{}\", \"parameters\": {}, \"global_batch\": {}, "
      "\"micro_batch\": {}, \"sequence_length\": {}, \"steps\": {}, ",
      options.preset, options.numerics, options.threads > 0 ? options.threads : cores(),
      model::cpu::cpu_kernels_isa(), model::cpu::onednn_version(), job.model.parameters(),
      job.train.global_batch, job.train.micro_batch, job.train.sequence_length,
      result.seconds.size());
  for (const auto& [name, seconds] :
       {Part{"best", result.best()}, Part{"median", result.median()}}) {
    fmt::print(
        "\"{}\": {{\"step_seconds\": {:.6g}, \"tokens_per_second\": {:.6g}, \"mfu\": {:.4f}, "
        "\"mfu_causal_half\": {:.4f}}}, ",
        name, seconds, figures.tokens / seconds, figures.flops / seconds / result.peak,
        figures.causal_flops / seconds / result.peak);
  }
  fmt::print(
      "\"step_flops\": {:.6g}, \"issued_matrix_flops\": {:.6g}, \"matrix_peak_flops\": {:.6g}, "
      "\"peak_cores\": {}, \"peak_rss_bytes\": {}, \"parts\": {{",
      figures.flops, result.issued_flops, result.peak, cores(), result.peak_rss);
  for (const Part& part : result.parts) {
    fmt::print("{}\"{}\": {:.6g}", &part == &result.parts.front() ? "" : ", ", part.name,
               part.seconds);
  }
  fmt::print("}}}}\n");
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Training speed of one process beside the matrix peak of the same run.");
  app.add_option("--preset", options.preset)
      ->check(CLI::IsMember({"gpt2-124m", "quickstart"}))
      ->capture_default_str();
  app.add_option("--numerics", options.numerics)
      ->check(CLI::IsMember({"fast", "invariant"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "default: all cores")->check(CLI::Range(1, 4096));
  app.add_option("--steps", options.steps, "steps that count; one more warms up")
      ->check(CLI::Range(1, 10000));
  app.add_option("--batch", options.batch, "samples a step")->check(CLI::Range(1, 4096));
  app.add_flag("--json", options.json, "one record instead of the tables");
  CLI11_PARSE(app, argc, argv);
  const launch::Job job = make_job(options);
  const Result result = measure(options, job);
  options.json ? print_json(options, job, result) : print_table(options, job, result);
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
