// SPDX-License-Identifier: Apache-2.0
// bench_decode: how fast one process generates with a cache, beside the time that reading the same
// bytes takes. A token needs every weight and every cached key and value once, so for few sequences
// memory sets the bound. After each step of generation a loop sums the same weights and as many
// bytes of cache with the same threads: both see the same moments of a shared machine.
//   bench_decode [--preset gpt2-124m|quickstart] [--batch 1 8] [--threads N] [--prompt N]
//                [--tokens N] [--json]
#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <time.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "model/cpu/isa.h"
#include "model/cpu/simd.h"
#include "model/generator.h"

namespace talaria::model {
namespace {

struct Options {
  std::string preset = "gpt2-124m";
  std::vector<std::int64_t> batches = {1, 8};
  int threads = 0;  // 0: all cores
  std::int64_t prompt = 64;
  std::int64_t tokens = 96;
  bool json = false;
};

StageSetup make_setup(const Options& options) {
  StageSetup setup;
  if (options.preset == "quickstart") {
    setup.config = {
        .layers = 4, .hidden = 256, .heads = 8, .ffn = 1024, .context = 128, .vocab = 2048};
  }
  setup.last_layer = setup.config.layers;
  setup.length = setup.config.context;
  setup.frozen = true;
  setup.draw_weights = false;
  return setup;
}

std::vector<Prompt> made_up_prompts(const Options& options, const GptConfig& config,
                                    std::int64_t batch) {
  std::vector<Prompt> prompts(static_cast<std::size_t>(batch));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].key = i;
    for (std::int64_t t = 0; t < options.prompt; ++t) {
      prompts[i].ids.push_back(
          static_cast<std::int32_t>((static_cast<std::int64_t>(i) * 977 + t * 131) % config.vocab));
    }
  }
  return prompts;
}

// Since some moment: by the clock, and processor time of this process a thread. The second hardly
// sees the other programs of a shared machine, nor does it see a thread wait for another.
struct Moment {
  double wall = 0.0;
  double cpu = 0.0;
};
Moment now(const ThreadPool& pool) {
  struct timespec time = {};
  check_sys(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time), "clock_gettime", "process time");
  const double cpu = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  return {monotonic_seconds(), cpu / pool.size()};
}
Moment operator-(const Moment& a, const Moment& b) { return {a.wall - b.wall, a.cpu - b.cpu}; }

struct Times {
  std::vector<double> wall;
  std::vector<double> cpu;
  void add(const Moment& seconds) {
    wall.push_back(seconds.wall);
    cpu.push_back(seconds.cpu);
  }
};

// Sums floats with all threads of the pool, as fast as they come: in one ascending stream, and in
// eight side by side with prefetching. Which is faster depends on the machine and the moment.
class ReadLoop {
 public:
  explicit ReadLoop(ThreadPool& pool) : pool_(pool) {}

  void add(const float* data, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += kPiece) {
      pieces_.push_back({data + i, std::min(kPiece, count - i)});
    }
    sums_.resize(pieces_.size());
  }
  // Seconds of the faster way.
  Moment run() {
    const Moment one = run_with(one_stream);
    const Moment eight = run_with(eight_streams);
    return {std::min(one.wall, eight.wall), std::min(one.cpu, eight.cpu)};
  }
  float total() const {
    float all = 0.0F;
    for (const float each : sums_) all += each;
    return all;
  }

 private:
  static constexpr std::int64_t kPiece = 65536;
  static constexpr std::int64_t kStreams = 8;
  static constexpr std::int64_t kAhead = 1024;
  struct Piece {
    const float* data;
    std::int64_t count;
  };
  using Sums = cpu::F16[kStreams];

  template <class Sum>
  Moment run_with(const Sum& sum) {
    const Moment start = now(pool_);
    pool_.run(static_cast<std::int64_t>(pieces_.size()), [&](std::int64_t unit, int) {
      const Piece& piece = pieces_[static_cast<std::size_t>(unit)];
      constexpr std::int64_t kStep = kStreams * cpu::kLanes;
      const std::int64_t whole = piece.count / kStep * kStep;
      Sums sums = {};
      sum(piece.data, whole, sums);
      float rest = cpu::fold_sum(((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                                 ((sums[4] + sums[5]) + (sums[6] + sums[7])));
      for (std::int64_t i = whole; i < piece.count; ++i) rest += piece.data[i];
      sums_[static_cast<std::size_t>(unit)] = rest;
    });
    return now(pool_) - start;
  }
  static void one_stream(const float* data, std::int64_t count, Sums& sums) {
    for (std::int64_t i = 0; i < count; i += kStreams * cpu::kLanes) {
      for (std::int64_t j = 0; j < kStreams; ++j) {
        sums[j] += cpu::load(data + i + j * cpu::kLanes, cpu::FullLanes{});
      }
    }
  }
  static void eight_streams(const float* data, std::int64_t count, Sums& sums) {
    const std::int64_t stream = count / kStreams;
    for (std::int64_t i = 0; i < stream; i += cpu::kLanes) {
      for (std::int64_t j = 0; j < kStreams; ++j) {
        const float* at = data + j * stream + i;
        __builtin_prefetch(at + kAhead, 0, 2);
        sums[j] += cpu::load(at, cpu::FullLanes{});
      }
    }
  }

  ThreadPool& pool_;
  std::vector<Piece> pieces_;
  std::vector<float> sums_;
};

struct Result {
  std::int64_t batch = 0;
  double prefill = 0.0;  // seconds
  Times steps;
  Times reads;             // of the same bytes
  std::int64_t bytes = 0;  // of a step halfway
  std::int64_t weight_bytes = 0;
};

double best(const std::vector<double>& seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}
double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// Floats of weights that a step reads: all but the positions, of which it reads a row a sequence.
std::int64_t weights_read(const Parameters& parameters) {
  std::int64_t count = 0;
  for (const ParameterBlock& block : parameters.blocks()) {
    if (block.tensor.name != "pos_embed") count += block.count();
  }
  return count;
}

Result measure(const Options& options, std::int64_t batch, GptStage& stage) {
  Result result;
  result.batch = batch;
  const GptConfig& config = stage.setup().config;
  const auto single = parallel::make_single_communicator();
  Generator generator(stage, *single, *single, batch, options.prompt + options.tokens);

  ReadLoop loop(stage.pool());
  for (const ParameterBlock& block : stage.parameters().blocks()) {
    if (block.tensor.name == "pos_embed") continue;
    loop.add(stage.parameters().weights() + block.offset, block.count());
  }
  const std::int64_t cached =
      batch * config.layers * 2 * config.hidden * (options.prompt + options.tokens / 2);
  const HostBuffer<float> cache(cached);
  loop.add(cache.data(), cached);
  result.weight_bytes = weights_read(stage.parameters()) * 4;
  result.bytes = result.weight_bytes + cached * 4;

  GenerationOptions generation;
  generation.sampler.temperature = 0.0;
  generation.max_tokens = options.tokens;
  const std::vector<Prompt> prompts = made_up_prompts(options, config, batch);
  Moment start = now(stage.pool());
  std::int64_t heard = 0;
  generator.generate(prompts, generation, [&](std::size_t, std::int32_t) {
    if (++heard % batch != 0) return;
    const Moment seconds = now(stage.pool()) - start;
    if (heard == batch) {
      result.prefill = seconds.wall;
    } else {
      result.steps.add(seconds);
    }
    result.reads.add(loop.run());
    start = now(stage.pool());
  });
  if (!(loop.total() == loop.total())) fail("the weights are not finite");
  return result;
}

void print_table(const std::vector<Result>& results, const Options& options) {
  fmt::print("{:>5} {:>7} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7}\n", "batch", "", "ms/step",
             "tokens/s", "MB/step", "GB/s", "read GB/s", "share");
  for (const Result& r : results) {
    const auto row = [&](const char* name, double step, double read) {
      const double bytes = static_cast<double>(r.bytes);
      fmt::print("{:>5} {:>7} {:>10.2f} {:>10.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>6.1f}%\n", r.batch,
                 name, step * 1e3, static_cast<double>(r.batch) / step, bytes * 1e-6,
                 bytes / step * 1e-9, bytes / read * 1e-9, 100.0 * read / step);
    };
    row("best", best(r.steps.wall), best(r.reads.wall));
    row("median", median(r.steps.wall), median(r.reads.wall));
    row("cpu", median(r.steps.cpu), median(r.reads.cpu));
  }
  fmt::print("cpu: median processor time a thread\nprompts of {} tokens:", options.prompt);
  for (const Result& r : results) {
    fmt::print(" batch {} {:.1f} ms ({:.0f} tokens/s)", r.batch, r.prefill * 1e3,
               static_cast<double>(r.batch * options.prompt) / r.prefill);
  }
  fmt::print("\n");
}

void print_json(const Result& r, const Options& options, int threads) {
  fmt::print(
      "{{\"benchmark\": \"decode\", \"preset\": \"{}\", \"batch\": {}, \"threads\": {}, "
      "\"isa\": \"{}\", \"prompt\": {}, \"steps\": {}, \"bytes_per_step\": {}, "
      "\"weight_bytes\": {}, \"prefill_seconds\": {:.6g}, ",
      options.preset, r.batch, threads, cpu::cpu_kernels_isa(), options.prompt, r.steps.wall.size(),
      r.bytes, r.weight_bytes, r.prefill);
  const auto figures = [&](const char* name, double step, double read, const char* end) {
    fmt::print(
        "\"{}\": {{\"step_seconds\": {:.6g}, \"tokens_per_second\": {:.6g}, \"read_seconds\": "
        "{:.6g}, \"share_of_bound\": {:.4f}}}{}",
        name, step, static_cast<double>(r.batch) / step, read, read / step, end);
  };
  figures("best", best(r.steps.wall), best(r.reads.wall), ", ");
  figures("median", median(r.steps.wall), median(r.reads.wall), ", ");
  figures("cpu", median(r.steps.cpu), median(r.reads.cpu), "}\n");
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Speed of generation beside the time to read the same bytes.");
  app.add_option("--preset", options.preset)
      ->check(CLI::IsMember({"gpt2-124m", "quickstart"}))
      ->capture_default_str();
  app.add_option("--batch", options.batches, "sequences at once, one run each")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "default: all cores")->check(CLI::Range(1, 4096));
  app.add_option("--prompt", options.prompt, "tokens")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  app.add_option("--tokens", options.tokens, "new ones")
      ->check(CLI::Range(2, 512))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a record a batch instead of the table");
  CLI11_PARSE(app, argc, argv);

  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  ThreadPool pool(threads);
  Stream stream;
  stream.pool = &pool;
  const auto single = parallel::make_single_communicator();
  const StageSetup setup = make_setup(options);
  if (options.prompt + options.tokens > setup.config.context) {
    fail_usage("--prompt {} + --tokens {}: allowed are {} together", options.prompt, options.tokens,
               setup.config.context);
  }
  GptStage stage(setup, *single, stream);
  stage.parameters().initialise(1, pool);
  if (!options.json) {
    fmt::print("{}: {:.1f} M parameters, f32, {} threads, {}\n", options.preset,
               static_cast<double>(setup.config.parameters()) * 1e-6, threads,
               cpu::cpu_kernels_isa());
  }
  std::vector<Result> results;
  for (const std::int64_t batch : options.batches) {
    results.push_back(measure(options, batch, stage));
    if (options.json) print_json(results.back(), options, threads);
  }
  if (!options.json) print_table(results, options);
  return kExitDone;
}

}  // namespace
}  // namespace talaria::model

int main(int argc, char** argv) {
  try {
    return talaria::model::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
}
