// SPDX-License-Identifier: Apache-2.0
// talaria-worker: a rank of a job (--job, under mpirun), and the subcommands that touch data and
// storage.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "cluster/device/backend.h"
#include "model/cpu/isa.h"
#include "parallel/comm/process.h"
#include "storage/checkpoint/checkpoint_command.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/text/data_command.h"
#include "worker/chat_command.h"
#include "worker/eval_command.h"
#include "worker/generate.h"
#include "worker/hugging_face_command.h"
#include "worker/preparation.h"
#include "worker/probe.h"
#include "worker/reporter.h"
#include "worker/run_directory.h"
#include "worker/signals.h"
#include "worker/status_page.h"
#include "worker/trainer.h"

namespace talaria::worker {
namespace {

constexpr const char* kHelp =
    "talaria-worker --job JOB.toml       run a job; start it with mpirun -n RANKS\n"
    "talaria-worker data ...             prepare, encode, decode, inspect text; chat\n"
    "talaria-worker checkpoint ...       list, show, verify, import, export\n"
    "talaria-worker generate ...         continue prompts with a checkpoint\n"
    "talaria-worker chat ...             talk with a checkpoint\n"
    "talaria-worker eval ...             measure checkpoints\n"
    "talaria-worker summary --run-dir D  what a run has reached\n"
    "talaria-worker --probe              what this build and its libraries find here, as JSON\n"
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

// What the environment says to a rank; read here and nowhere else.
struct Environment {
  std::string attempt_id;
  std::string status_descriptor;
  std::string crash_point;
  std::string rank;  // as Open MPI's mpirun sets them, known before MPI is
  std::string world;
};

Environment read_environment() {
  const auto value = [](const char* name) -> std::string {
    const char* text = std::getenv(name);
    return text == nullptr ? "" : text;
  };
  return {value(wire::kAttemptIdVariable), value(wire::kStatusFdVariable),
          value("TALARIA_CRASH_POINT"), value("OMPI_COMM_WORLD_RANK"),
          value("OMPI_COMM_WORLD_SIZE")};
}

// The launcher's points are known by their names: it reads the same variable.
void arm_crash(const std::string& text, const char* where, int rank, int attempt) {
  if (text.empty() || text.starts_with("launch.")) return;
  const CrashOrder order = parse_crash_order(text, where);
  if (order.attempt != 0 && order.attempt != attempt) return;
  if (order.rank == rank) storage::arm_crash_point(order.name, order.hit);
}

// It becomes part of the names of files in /dev/shm.
void check_attempt_id(const std::string& id) {
  constexpr std::size_t kMost = 100;
  const bool plain = std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (id.size() <= kMost && plain) return;
  fail_usage("attempt id {}: allowed are up to {} characters of a-z, 0-9 and -", in_quotes(id),
             kMost);
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

struct RankCommand {
  TrainOptions train;
  std::filesystem::path attempt_folder;
  std::string progress = "auto";
  std::string crash;
  bool check = false;
};

void add_options(CLI::App& app, RankCommand& command) {
  TrainOptions& train = command.train;
  app.footer(kHelp);
  app.add_option("--job", train.job_file, "the job file (TOML)")->required();
  app.add_option("--set", train.overrides, "table.key=value, in place of what the file says")
      ->allow_extra_args(false);
  app.add_option("--stage", train.stage, "the one to run, of a job file with [[stage]]");
  app.add_option("--run-dir", train.run_directory, "default: runs/<job.name>");
  app.add_option("--attempt", train.attempt, "number of this attempt; default: the next one");
  app.add_option("--attempt-id", train.attempt_id,
                 "name of this attempt among all; default: TALARIA_ATTEMPT_ID");
  app.add_option("--attempt-dir", command.attempt_folder,
                 "report to the coordinator that its files `channel` and `secret` name");
  app.add_option("--progress", command.progress, "on stderr; auto: a bar on a terminal, else lines")
      ->check(CLI::IsMember({"auto", "bar", "lines", "none"}))
      ->capture_default_str();
  app.add_flag("--check", command.check, "judge job file and data, start nothing");
  app.add_option("--crash-point", command.crash,
                 "NAME:HIT[:RANK[:ATTEMPT]]: for tests, kill the rank there");
}

// Starts the reporting once the rank is known: from mpirun's environment, before MPI starts, so
// that a start which hangs is seen; else from MPI.
class Reporting {
 public:
  Reporting(const RankCommand& command, const Environment& environment)
      : command_(command), reporter_(open_status(environment.status_descriptor)) {
    const std::optional<int> rank = to_number(environment.rank);
    const std::optional<int> world = to_number(environment.world);
    if (rank && world && *rank < *world) start(*rank, *world);
  }

  void start(int rank, int world) {
    // The thread reads the name: it is given once.
    if (std::exchange(started_, true)) return;
    const bool wanted = !command_.attempt_folder.empty();
    if (wanted || world > 1) set_log_identity(fmt::format("rank {}", rank));
    if (!wanted) return;
    set_log_times();
    reporter_.start({command_.attempt_folder, command_.train.attempt_id, rank, world});
  }

  Reporter& reporter() { return reporter_; }

 private:
  static std::optional<int> to_number(const std::string& text) {
    int number = -1;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stopped != end || number < 0) return std::nullopt;
    return number;
  }

  const RankCommand& command_;
  Reporter reporter_;
  bool started_ = false;
};

int rank_command(int argc, char** argv) {
  const Environment environment = read_environment();
  RankCommand command;
  command.train.attempt_id = environment.attempt_id;
  CLI::App app("One rank of a training job.", "talaria-worker");
  add_options(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (command.check) return check_job(command.train);
  check_attempt_id(command.train.attempt_id);
  block_stop_signals();
  command.train.progress = progress_style(command.progress);
  command.train.backend = describe_backend();
  Reporting reporting(command, environment);
  int code = kExitFailed;
  {
    parallel::Process process;
    reporting.start(process.rank(), process.size());
    code = process.run([&] {
      const int attempt = command.train.attempt;
      arm_crash(environment.crash_point, "TALARIA_CRASH_POINT", process.rank(), attempt);
      arm_crash(command.crash, "--crash-point", process.rank(), attempt);
      const int result = train(process, command.train, reporting.reporter());
      const std::string missed = storage::unreached_crash_point();
      if (missed.empty()) return result;
      log_line(missed);
      return static_cast<int>(kExitFailed);
    });
  }
  reporting.reporter().finish(code);
  return code;
}

int run(int argc, char** argv) {
  // Also tells of a processor that this build cannot run on.
  if (argc == 2 && std::string_view(argv[1]) == "--probe") return probe_command();
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
  if (command == "checkpoint") {
    return storage::checkpoint_command(count, rest.data(), exchange_verbs());
  }
  if (command == "generate") {
    return generate_command(count, rest.data(), !read_environment().world.empty());
  }
  if (command == "chat") return chat_command(count, rest.data());
  if (command == "eval") {
    return eval_command(count, rest.data(), !read_environment().world.empty());
  }
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
