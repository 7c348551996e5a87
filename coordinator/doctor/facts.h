// SPDX-License-Identifier: Apache-2.0
// What `talaria doctor` has found out about this machine, before anything is judged: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/base/error.h"
#include "cluster/inventory/disk.h"
#include "cluster/inventory/node.h"
#include "cluster/inventory/programs.h"

namespace talaria::doctor {

struct Gpu {
  std::string name;
  std::int64_t memory_bytes = 0;
  std::string capability;  // "9.0"
};

// What `talaria-worker --probe` answers (worker/probe.h).
struct Probe {
  std::string isa;          // of the build
  std::string missing_isa;  // that this processor lacks; "" where it fits
  std::string mpi_version;  // of Open MPI; "" for another MPI
  std::string mpi_library;
  std::string mpi_standard;
  std::string thread_level;
  int ranks = 1;
  std::string mpi_error;  // "" where MPI started
  std::string hdf5;
  std::string onednn;
  bool module_loaded = false;
  bool cuda_usable = false;
  std::string cuda_reason;
  std::vector<Gpu> gpus;
  std::string nccl;
  std::string nccl_error;
};

// Reads the first line of `text` that is such an answer.
Result<Probe> parse_probe(const std::string& text);

struct WorkerFacts {
  std::string path;
  bool found = false;
  std::optional<Probe> probe;                  // it started and answered
  std::string trouble;                         // why not, or what MPI complained of; one line
  std::vector<std::string> missing_libraries;  // sonames that the loader does not find
};

struct MpirunFacts {
  std::string path;     // "": not found
  std::string version;  // "4.1.4"; "" where it is not Open MPI's
};

// Ranks that were really started, by mpirun, in the way that jobs are.
struct RanksFacts {
  bool tried = false;
  std::string untried;  // why not
  int wanted = 2;
  int met = 0;           // how many reached one another
  double seconds = 0.0;  // from start to end
  bool timed_out = false;
  std::string trouble;  // one line
};

struct DiskFacts {
  std::string folder;
  std::int64_t free = 0;
  std::optional<inventory::DiskSpeed> speed;
  std::string trouble;  // why nothing can be written
};

struct Facts {
  inventory::Node node;
  bool root = false;
  bool root_allowed = false;  // the environment tells Open MPI that root may
  WorkerFacts worker;
  MpirunFacts mpirun;
  RanksFacts ranks;
  inventory::Slurm slurm;
  DiskFacts disk;
  std::string loopback_trouble;  // "": a port can be bound and reached
  std::string registry;          // where the user's runs are listed; "": no home is known
  std::string registry_trouble;  // "": it can be written
};

}  // namespace talaria::doctor
