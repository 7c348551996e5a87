// SPDX-License-Identifier: Apache-2.0
// talaria-worker: a rank of a job (--job, under mpirun), and the subcommands that touch data and
// storage.
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/device/backend.h"
#include "model/cpu/isa.h"
#include "parallel/comm/process.h"
#include "storage/checkpoint/checkpoint_command.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/text/data_command.h"
#include "worker/generate.h"
#include "worker/run_directory.h"
#include "worker/signals.h"
#include "worker/trainer.h"

namespace talaria::worker {
namespace {

constexpr const char* kHelp =
    "talaria-worker --job JOB.toml       run a job; start it with mpirun -n RANKS\n"
    "talaria-worker data ...             prepare, encode, decode, inspect text\n"
    "talaria-worker checkpoint ...       list, show, verify\n"
    "talaria-worker generate ...         continue a prompt with a checkpoint\n"
    "talaria-worker summary --run-dir D  what a run has reached\n"
    "Each knows --help. Exit codes: 0 done, 1 failed, 2 wrong usage or invalid job file, 75 "
    "stopped "
    "early\nwith a checkpoint (run it again).\n";

int summary_command(int argc, char** argv) {
  std::string run_directory;
  CLI::App app("Prints what a run has reached, from its records.", argv[0]);
  app.add_option("--run-dir", run_directory)->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  const RunSummary summary = summarise(run_directory);
  fmt::print("steps            {}{}\n", summary.steps, summary.done ? " (complete)" : "");
  fmt::print("tokens           {}\n", summary.tokens);
  fmt::print("loss             {:.4f} -> {:.4f} (mean of the last 10 steps)\n", summary.first_loss,
             summary.last_loss);
  if (summary.validation_loss) fmt::print("validation loss  {:.4f}\n", *summary.validation_loss);
  if (summary.validation_bits_per_byte) {
    fmt::print("validation       {:.4f} bits per byte\n", *summary.validation_bits_per_byte);
  }
  fmt::print("speed            {:.0f} tokens/s, MFU {:.1f} %\n", summary.tokens_per_second,
             100.0 * summary.mfu);
  fmt::print("checkpoints      {}/checkpoints\n", run_directory);
  return kExitDone;
}

void arm_crash(const std::string& text, int rank) {
  // NAME:HIT or NAME:HIT:RANK
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  try {
    const int hit = std::stoi(text.substr(first + 1));
    const int wanted = second == std::string::npos ? 0 : std::stoi(text.substr(second + 1));
    if (rank == wanted) storage::arm_crash_point(text.substr(0, first), hit);
  } catch (const std::logic_error&) {
    fail_usage("--crash-point {}: not of the form NAME:HIT or NAME:HIT:RANK", text);
  }
}

ProgressStyle progress_style(const std::string& name) {
  if (name == "none") return ProgressStyle::kNone;
  if (name == "bar" || (name == "auto" && ::isatty(STDERR_FILENO) == 1)) return ProgressStyle::kBar;
  return ProgressStyle::kLines;
}

// What this job computes with. Only the CPU has kernels so far; the module has devices and NCCL.
std::string describe_backend() {
  const BackendChoice choice = choose_backend(BackendRequest::kAuto);
  if (choice.device == DeviceKind::kCpu) return choice.reason;
  return fmt::format("cpu: this version has no CUDA kernels ({})", choice.reason);
}

int rank_command(int argc, char** argv) {
  TrainOptions options;
  std::string progress = "auto";
  std::string crash;
  CLI::App app("One rank of a training job.", "talaria-worker");
  app.footer(kHelp);
  app.add_option("--job", options.job_file, "the job file (TOML)")->required();
  app.add_option("--set", options.overrides, "table.key=value, in place of what the file says")
      ->allow_extra_args(false);
  app.add_option("--stage", options.stage, "the one to run, of a job file with [[stage]]");
  app.add_option("--run-dir", options.run_directory, "default: runs/<job.name>");
  app.add_option("--attempt", options.attempt, "number of this attempt; default: the next one");
  app.add_option("--progress", progress, "on stderr; auto: a bar on a terminal, else lines")
      ->check(CLI::IsMember({"auto", "bar", "lines", "none"}))
      ->capture_default_str();
  app.add_flag("--check", options.check_only, "judge job file and data, start nothing");
  app.add_option("--crash-point", crash, "NAME:HIT[:RANK]: for tests, kill the rank there");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  block_stop_signals();
  options.progress = progress_style(progress);
  options.backend = describe_backend();
  parallel::Process process;
  if (process.size() > 1) set_log_identity(fmt::format("rank {}", process.rank()));
  if (!crash.empty()) arm_crash(crash, process.rank());
  return process.run([&] {
    const int code = train(process, options);
    const std::string missed = storage::unreached_crash_point();
    if (missed.empty()) return code;
    log_line(missed);
    return static_cast<int>(kExitFailed);
  });
}

int run(int argc, char** argv) {
  if (const std::string missing = model::cpu::cpu_kernels_missing_feature(); !missing.empty()) {
    fail_usage(
        "this build needs a CPU with {}; build with -DTALARIA_ARCH=x86-64-v3 for this machine",
        missing);
  }
  const std::string_view command = argc > 1 ? argv[1] : "--help";
  if (command == "--help" || command == "-h") {
    fmt::print("{}", kHelp);
    return kExitDone;
  }
  std::string name = fmt::format("talaria-worker {}", command);
  std::vector<char*> rest = {name.data()};
  for (int i = 2; i < argc; ++i) rest.push_back(argv[i]);
  rest.push_back(nullptr);
  const int count = argc - 1;
  if (command == "data") return storage::data_command(count, rest.data());
  if (command == "checkpoint") return storage::checkpoint_command(count, rest.data());
  if (command == "generate") return generate_command(count, rest.data());
  if (command == "summary") return summary_command(count, rest.data());
  if (!command.starts_with("-")) {
    fail_usage("talaria-worker: {}: unknown command; see talaria-worker --help", command);
  }
  return rank_command(argc, argv);
}

}  // namespace
}  // namespace talaria::worker

int main(int argc, char** argv) {
  try {
    return talaria::worker::run(argc, argv);
  } catch (const talaria::UsageError& error) {
    talaria::log_line(error.what());
    return talaria::kExitUsage;
  } catch (const std::exception& error) {
    talaria::log_line(error.what());
    return talaria::kExitFailed;
  }
}
