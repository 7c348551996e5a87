// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/gather.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/subprocess.h"
#include "cluster/base/text.h"
#include "coordinator/doctor/loopback.h"
#include "coordinator/doctor/packages.h"

namespace talaria::doctor {
namespace {

namespace fs = std::filesystem;

constexpr double kProbeSeconds = 30.0;  // a driver with many GPUs wakes up slowly
constexpr double kToolSeconds = 5.0;
constexpr int kRanksSeconds = 10;
// On fewer cores than the quickstart has ranks, one rank more than cores proves that this works.
constexpr int kManyCores = 8;
// With 8 MiB, Open MPI 4.1.4 was seen to hang before the first rank; with 12 MiB 3 ranks met.
constexpr std::int64_t kSharedMemoryToTry = std::int64_t{16} << 20;

// A folder for MPI's files that goes away with the object: where jobs put theirs.
class Scratch {
 public:
  Scratch() {
    const bool shared = ::access("/dev/shm", W_OK | X_OK) == 0;
    std::string name =
        (shared ? "/dev/shm" : fs::temp_directory_path().string()) + "/talaria-doctor-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
    path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string describe_end(const Captured& run) {
  if (run.timed_out) return "no answer in time";
  std::string complaint = main_complaint(run.err.empty() ? run.out : run.err);
  if (!complaint.empty()) return complaint;
  if (run.signal != 0) return fmt::format("it was killed by signal {}", run.signal);
  return fmt::format("exit code {}", run.exit_code);
}

WorkerFacts ask_worker(const std::string& path) {
  WorkerFacts worker;
  worker.path = path;
  worker.found = !path.empty() && ::access(path.c_str(), X_OK) == 0;
  if (!worker.found) return worker;
  const Captured run = run_captured({path, "--probe"}, kProbeSeconds);
  const Result<Probe> probe = parse_probe(run.out);
  if (probe) {
    worker.probe = probe.value();
    if (!probe.value().mpi_error.empty()) worker.trouble = main_complaint(run.err);
    return worker;
  }
  worker.trouble = describe_end(run);
  if (worker.trouble == "exit code 0") worker.trouble = probe.error();
  const Captured ldd = run_captured({"ldd", path}, kToolSeconds);
  worker.missing_libraries = libraries_not_found(ldd.out);
  return worker;
}

MpirunFacts ask_mpirun(const std::string& program, const std::string& path) {
  MpirunFacts mpirun;
  mpirun.path = inventory::find_program(program, path).string();
  if (mpirun.path.empty()) return mpirun;
  const Captured run = run_captured({mpirun.path, "--version"}, kToolSeconds);
  if (run.out.find("Open MPI") != std::string::npos) {
    mpirun.version = inventory::version_in(run.out);
  }
  return mpirun;
}

// "" where mpirun can be tried.
std::string why_not_try(const Facts& facts) {
  if (facts.mpirun.version.empty()) return "there is no mpirun of Open MPI";
  if (!facts.worker.probe) return "the worker does not start";
  if (facts.node.shared_memory.mounted && facts.node.shared_memory.free < kSharedMemoryToTry) {
    return "/dev/shm is so small that mpirun would wait for ever";
  }
  return "";
}

// Starts talaria-worker --probe on several ranks, as jobs are started.
RanksFacts try_ranks(const Facts& facts) {
  RanksFacts ranks;
  ranks.untried = why_not_try(facts);
  if (!ranks.untried.empty()) return ranks;
  ranks.tried = true;
  const int cores = facts.node.cpu.usable();
  ranks.wanted = cores < kManyCores ? cores + 1 : 2;
  const Scratch scratch;
  // timeout(1) asks mpirun to end, which ends its ranks; a killed mpirun would leave them.
  std::vector<std::string> argv = {"timeout", "--kill-after=2", std::to_string(kRanksSeconds),
                                   facts.mpirun.path};
  if (facts.root) argv.emplace_back("--allow-run-as-root");
  argv.insert(argv.end(),
              {"-n", std::to_string(ranks.wanted), "--oversubscribe", "--bind-to", "none", "--mca",
               "orte_tmpdir_base", scratch.path(), "--mca", "btl_vader_backing_directory",
               scratch.path(), "--mca", "btl_vader_single_copy_mechanism", "none", "--mca",
               "mpi_yield_when_idle", "1", facts.worker.path, "--probe"});
  const double begin = monotonic_seconds();
  const Captured run = run_captured(argv, kRanksSeconds + 5.0);
  ranks.seconds = monotonic_seconds() - begin;
  const Result<Probe> answer = parse_probe(run.out);
  constexpr int kTimedOut = 124;  // of timeout(1)
  ranks.timed_out = run.timed_out || run.exit_code == kTimedOut || run.signal == SIGKILL;
  if (answer && answer.value().mpi_error.empty() && run.exit_code == 0) {
    ranks.met = answer.value().ranks;
  } else {
    ranks.trouble = ranks.timed_out ? main_complaint(run.err) : describe_end(run);
  }
  return ranks;
}

DiskFacts ask_disk(const std::string& folder) {
  DiskFacts disk;
  disk.folder = folder;
  disk.free = inventory::look_at(folder).free;
  const Result<inventory::DiskSpeed> speed = inventory::measure_disk(folder);
  if (speed) {
    disk.speed = speed.value();
  } else {
    disk.trouble = speed.error();
  }
  return disk;
}

// Where the user's runs are listed: as coordinator/command does.
std::string registry_of(const Environment& environment) {
  if (!environment.state_home.empty()) return environment.state_home + "/talaria";
  return environment.home.empty() ? "" : environment.home + "/.local/state/talaria";
}

// "" where the folder can be written to, or made, which is not done.
std::string why_no_records(const fs::path& folder) {
  std::error_code error;
  fs::path at = folder;
  while (at.has_relative_path() && !fs::exists(at, error)) at = at.parent_path();
  return inventory::why_not_writable(at);
}

}  // namespace

std::string main_complaint(const std::string& output) {
  std::string complaint;
  bool boxed = false;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find_first_not_of(" \t");
    const bool rule = line.size() > 20 && line.find_first_not_of('-') == std::string::npos;
    if (rule && boxed) break;
    if (rule && complaint.empty()) boxed = true;
    if (rule || begin == std::string::npos) continue;
    if (!complaint.empty()) complaint += ' ';
    complaint += one_line(line.substr(begin));
    if (!boxed) break;
  }
  constexpr std::size_t kMost = 240;
  if (complaint.size() > kMost) complaint = complaint.substr(0, kMost) + "...";
  return complaint;
}

Facts gather_facts(const launch::Tools& tools, const Environment& environment,
                   const std::string& folder) {
  Facts facts;
  facts.node = inventory::take_inventory();
  facts.root = ::geteuid() == 0;
  facts.root_allowed = environment.root_allowed;
  facts.worker = ask_worker(tools.worker);
  facts.mpirun = ask_mpirun(tools.mpirun, environment.path);
  facts.ranks = try_ranks(facts);
  facts.slurm = inventory::find_slurm(environment.path, kToolSeconds);
  facts.disk = ask_disk(folder);
  facts.loopback_trouble = try_loopback();
  facts.registry = registry_of(environment);
  if (!facts.registry.empty()) facts.registry_trouble = why_no_records(facts.registry);
  return facts;
}

}  // namespace talaria::doctor
