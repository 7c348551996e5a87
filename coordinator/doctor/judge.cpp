// SPDX-License-Identifier: Apache-2.0
// The programs and libraries: talaria-worker, MPI, HDF5, oneDNN, Slurm.
#include "coordinator/doctor/judge.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include <fmt/format.h>

#include "coordinator/doctor/packages.h"

namespace talaria::doctor {
namespace {

constexpr const char* kBuildWorker = "scripts/build release talaria-worker";
constexpr double kSlowStart = 10.0;

Finding judge_worker(const WorkerFacts& worker) {
  if (!worker.found) {
    return {"worker", Level::kMissing, fmt::format("{} is not there", worker.path), kBuildWorker,
            true};
  }
  if (!worker.missing_libraries.empty()) {
    return {"worker", Level::kMissing,
            fmt::format("{} does not start, it lacks {}", worker.path,
                        fmt::join(worker.missing_libraries, ", ")),
            install_command(worker.missing_libraries), true};
  }
  if (!worker.probe) {
    return {"worker", Level::kMissing,
            fmt::format("{} does not start: {}", worker.path, worker.trouble), kBuildWorker, true};
  }
  return {"worker", Level::kOk, worker.path, "", false};
}

Finding judge_mpi_library(const WorkerFacts& worker) {
  const Probe& probe = *worker.probe;
  if (!probe.mpi_error.empty()) {
    return {"MPI library", Level::kMissing,
            fmt::format("does not start: {}",
                        worker.trouble.empty() ? probe.mpi_error : worker.trouble),
            "mend what its message names; it needs a writable temporary folder", true};
  }
  if (probe.mpi_version.empty()) {
    return {"MPI library", Level::kWarning,
            fmt::format("{}; Talaria is made for Open MPI 4.1", probe.mpi_library),
            "apt-get install openmpi-bin libopenmpi-dev, then scripts/build release", false};
  }
  return {"MPI library", Level::kOk,
          fmt::format("Open MPI {}, standard {}", probe.mpi_version, probe.mpi_standard), "",
          false};
}

Finding judge_thread_level(const Probe& probe) {
  if (probe.thread_level == "single") {
    return {"MPI threads", Level::kMissing, "thread level single; funneled is needed",
            "apt-get install openmpi-bin libopenmpi-dev, then scripts/build release", true};
  }
  return {"MPI threads", Level::kOk, fmt::format("thread level {}", probe.thread_level), "", false};
}

Finding judge_mpirun(const Facts& facts) {
  const MpirunFacts& mpirun = facts.mpirun;
  if (mpirun.path.empty()) {
    return {"mpirun", Level::kMissing, "not found", "apt-get install openmpi-bin", true};
  }
  if (mpirun.version.empty()) {
    return {"mpirun", Level::kMissing, fmt::format("{} is not Open MPI's", mpirun.path),
            "apt-get install openmpi-bin, and put its mpirun first in PATH", true};
  }
  const std::string library = facts.worker.probe ? facts.worker.probe->mpi_version : "";
  if (!library.empty() && library != mpirun.version) {
    const bool works = facts.ranks.met == facts.ranks.wanted;
    return {"mpirun", works ? Level::kWarning : Level::kMissing,
            fmt::format("{} is of Open MPI {}, the worker's library of {}", mpirun.path,
                        mpirun.version, library),
            "put the mpirun of the library's version first in PATH, or build again with this one",
            !works};
  }
  return {"mpirun", Level::kOk, fmt::format("{}, Open MPI {}", mpirun.path, mpirun.version), "",
          false};
}

Finding judge_ranks(const Facts& facts) {
  const RanksFacts& ranks = facts.ranks;
  if (!ranks.tried) {
    return {"ranks", Level::kMissing, "not tried: " + ranks.untried, "", false};
  }
  if (ranks.timed_out) {
    return {"ranks", Level::kMissing,
            fmt::format("{} ranks did not end within {:.0f} s{}{}", ranks.wanted, ranks.seconds,
                        ranks.trouble.empty() ? "" : ": ", ranks.trouble),
            "try `mpirun -n 2 --oversubscribe hostname`, and mend what it says", true};
  }
  if (ranks.met == 1 && ranks.wanted > 1) {
    return {"ranks", Level::kMissing,
            "mpirun starts them, but each is alone: it is of another MPI than the worker's library",
            "put the mpirun of the library's version first in PATH", true};
  }
  if (ranks.met != ranks.wanted) {
    return {"ranks", Level::kMissing, fmt::format("mpirun starts none: {}", ranks.trouble),
            "try `mpirun -n 2 --oversubscribe hostname`, and mend what it says", true};
  }
  const int cores = facts.node.cpu.usable();
  return {"ranks", ranks.seconds < kSlowStart ? Level::kOk : Level::kWarning,
          fmt::format("{} on {} core{} met in {:.1f} s", ranks.wanted, cores, cores == 1 ? "" : "s",
                      ranks.seconds),
          "", false};
}

Finding judge_root(const Facts& facts) {
  if (facts.root_allowed) return {"root", Level::kOk, "mpirun is told that root may", "", false};
  return {"root", Level::kOk,
          "talaria tells mpirun that root may; by hand: export OMPI_ALLOW_RUN_AS_ROOT=1 "
          "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
          "", false};
}

// "1.10.8" is at least 1.10, which has virtual datasets.
bool has_virtual_datasets(const std::string& version) {
  const std::size_t dot = version.find('.');
  if (dot == std::string::npos) return false;
  const int major = std::atoi(version.c_str());
  return major > 1 || (major == 1 && std::atoi(version.c_str() + dot + 1) >= 10);
}

Finding judge_hdf5(const Probe& probe) {
  if (!has_virtual_datasets(probe.hdf5)) {
    return {"HDF5", Level::kMissing,
            fmt::format("{}; checkpoints need virtual datasets, of 1.10", probe.hdf5),
            "apt-get install libhdf5-dev, then scripts/build release", true};
  }
  return {"HDF5", Level::kOk, probe.hdf5, "", false};
}

Finding judge_slurm(const inventory::Slurm& slurm) {
  const bool all = !slurm.sbatch.empty() && !slurm.srun.empty() && !slurm.scontrol.empty();
  if (all) {
    return {"Slurm", Level::kOk,
            slurm.version.empty() ? "sbatch, srun and scontrol are there" : slurm.version, "",
            false};
  }
  const bool none = slurm.sbatch.empty() && slurm.srun.empty() && slurm.scontrol.empty();
  return {"Slurm", none ? Level::kMissing : Level::kWarning,
          none ? "no commands of it; only clusters that use it need them"
               : "only some of sbatch, srun and scontrol are there",
          "apt-get install slurm-client", false};
}

// Ranks that do not start for a reason that has its own line need no other advice.
void point_to_cause(std::vector<Finding>& findings) {
  const auto stops = [](const Finding& finding) {
    return finding.stops && finding.item != "ranks";
  };
  if (std::none_of(findings.begin(), findings.end(), stops)) return;
  for (Finding& finding : findings) {
    if (finding.item == "ranks" && finding.stops) finding.remedy = "mend the other lines first";
  }
}

}  // namespace

const char* level_name(Level level) {
  if (level == Level::kOk) return "ok";
  return level == Level::kWarning ? "warning" : "missing";
}

std::vector<Finding> judge_programs(const Facts& facts) {
  std::vector<Finding> findings = {judge_worker(facts.worker), judge_mpirun(facts)};
  if (facts.worker.probe) {
    findings.push_back(judge_mpi_library(facts.worker));
    if (facts.worker.probe->mpi_error.empty()) {
      findings.push_back(judge_thread_level(*facts.worker.probe));
    }
  }
  findings.push_back(judge_ranks(facts));
  if (facts.root) findings.push_back(judge_root(facts));
  if (facts.worker.probe) {
    findings.push_back(judge_hdf5(*facts.worker.probe));
    findings.push_back({"oneDNN", Level::kOk, facts.worker.probe->onednn, "", false});
  }
  findings.push_back(judge_slurm(facts.slurm));
  return findings;
}

std::vector<Finding> judge(const Facts& facts) {
  std::vector<Finding> findings = judge_machine(facts);
  for (auto* part : {&judge_programs, &judge_gpus, &judge_places}) {
    std::vector<Finding> more = part(facts);
    std::move(more.begin(), more.end(), std::back_inserter(findings));
  }
  point_to_cause(findings);
  return findings;
}

std::string what_stops(const std::vector<Finding>& findings) {
  std::vector<std::string> stops;
  for (const Finding& finding : findings) {
    if (!finding.stops) continue;
    stops.push_back(finding.remedy.empty() ? finding.item
                                           : fmt::format("{} ({})", finding.item, finding.remedy));
  }
  if (stops.empty()) return "";
  return fmt::format("the quickstart cannot run: {}", fmt::join(stops, "; "));
}

}  // namespace talaria::doctor
