// SPDX-License-Identifier: Apache-2.0
// The machine: processor, memory, limits; and the places that a run writes to or listens at.
#include <fmt/format.h>

#include "coordinator/doctor/judge.h"
#include "coordinator/doctor/packages.h"

namespace talaria::doctor {
namespace {

constexpr std::int64_t kMib = std::int64_t{1} << 20;
constexpr std::int64_t kRoomyMemory = 2048 * kMib;
constexpr std::int64_t kRoomySharedMemory = 256 * kMib;
constexpr std::int64_t kRoomyFiles = 1024;
constexpr double kSlowDisk = 50e6;
// Parameters, and two moments of the optimizer, of a model of 124 million parameters in f32.
constexpr double kCheckpointOf124M = 1.5e9;

Finding judge_cpu(const Facts& facts) {
  const inventory::Cpu& cpu = facts.node.cpu;
  const std::string model = cpu.model.empty() ? "of an unknown model" : cpu.model;
  const std::optional<Probe>& probe = facts.worker.probe;
  if (probe && !probe->missing_isa.empty()) {
    return {"processor", Level::kMissing,
            fmt::format("{} has no {}, which this build needs", model, probe->missing_isa),
            "cmake --preset release -DTALARIA_ARCH=x86-64-v3 && scripts/build release", true};
  }
  return {"processor", Level::kOk,
          fmt::format("{}; {}{}", model,
                      cpu.features.empty() ? "no vector features known"
                                           : fmt::format("{}", fmt::join(cpu.features, " ")),
                      probe ? fmt::format("; the build uses {}", probe->isa) : ""),
          "", false};
}

Finding judge_cores(const Facts& facts) {
  const inventory::Cpu& cpu = facts.node.cpu;
  std::string found = fmt::format("{} of {}", cpu.usable(), cpu.online);
  if (cpu.quota > 0.0) found += fmt::format(", the cgroup gives the time of {:.3g}", cpu.quota);
  found +=
      fmt::format("; {} NUMA node{}", facts.node.numa_nodes, facts.node.numa_nodes == 1 ? "" : "s");
  if (cpu.usable() > 1) return {"cores", Level::kOk, found, "", false};
  return {"cores", Level::kWarning,
          fmt::format("{}; {} ranks share one: it works, slowly", found, kQuickstartRanks), "",
          false};
}

Finding judge_memory(const Facts& facts) {
  const inventory::Memory& memory = facts.node.memory;
  std::string found = fmt::format("{} of {} available", readable_bytes(memory.usable()),
                                  readable_bytes(memory.total));
  if (memory.limit > 0)
    found += fmt::format(", the cgroup allows {}", readable_bytes(memory.limit));
  if (memory.usable() < kQuickstartMemory) {
    return {"memory", Level::kMissing,
            fmt::format("{}; {} ranks take {}", found, kQuickstartRanks,
                        readable_bytes(kQuickstartMemory)),
            "end other programs, or raise the container's or job's memory limit", true};
  }
  if (memory.usable() < kRoomyMemory) {
    return {"memory", Level::kWarning, found + "; enough for the quickstart only", "", false};
  }
  return {"memory", Level::kOk, found, "", false};
}

Finding judge_shared_memory(const Facts& facts) {
  const inventory::FileSystem& shm = facts.node.shared_memory;
  const std::string found =
      fmt::format("{} of {} free in /dev/shm", readable_bytes(shm.free), readable_bytes(shm.size));
  const char* const remount =
      "mount -o remount,size=1g /dev/shm (in a container: --shm-size=1g when it is started)";
  if (!shm.mounted || shm.size == 0) {
    return {"shared memory", Level::kMissing, "/dev/shm is not there",
            "mount -t tmpfs -o size=1g tmpfs /dev/shm", true};
  }
  if (shm.free < kQuickstartSharedMemory) {
    const bool used = shm.size >= kRoomySharedMemory;
    return {"shared memory", Level::kMissing,
            fmt::format("{}; {} ranks take {}", found, kQuickstartRanks,
                        readable_bytes(kQuickstartSharedMemory)),
            used ? "remove what other programs left: ls -lh /dev/shm" : remount, true};
  }
  if (shm.free < kRoomySharedMemory) {
    return {
        "shared memory", Level::kWarning,
        found +
            "; enough for the quickstart, a rank of a larger model takes 12 MiB and its messages",
        remount, false};
  }
  return {"shared memory", Level::kOk, found, "", false};
}

// What `files` descriptors allow: mpirun's share of them, and checkpoints opened whole.
std::int64_t ranks_within(std::int64_t files) {
  return std::max<std::int64_t>(0, (files - kFilesOfMpirun) / kFilesOfARank);
}

Finding judge_open_files(const Facts& facts) {
  const inventory::OpenFiles& files = facts.node.open_files;
  if (files.soft < 0) return {"open files", Level::kOk, "no limit", "", false};
  const std::string found =
      fmt::format("{} a process, {} at most", files.soft,
                  files.hard < 0 ? "without limit" : std::to_string(files.hard));
  const bool may_raise = files.hard < 0 || files.hard >= kRoomyFiles;
  const std::string remedy =
      may_raise ? fmt::format("ulimit -n {}",
                              files.hard < 0 ? 4096 : std::min<std::int64_t>(files.hard, 65536))
                : "as root: ulimit -Hn 4096, or raise nofile in /etc/security/limits.conf";
  if (ranks_within(files.soft) < kQuickstartRanks) {
    return {"open files", Level::kMissing,
            fmt::format("{}; mpirun takes {} for {} ranks", found,
                        kFilesOfMpirun + kFilesOfARank * kQuickstartRanks, kQuickstartRanks),
            remedy, true};
  }
  if (files.soft < kRoomyFiles) {
    return {"open files", Level::kWarning,
            fmt::format("{}; enough for {} ranks of one node", found, ranks_within(files.soft)),
            remedy, false};
  }
  return {"open files", Level::kOk,
          fmt::format("{}; readers of a checkpoint open its ranks + 1", found), "", false};
}

Finding judge_disk(const Facts& facts) {
  const DiskFacts& disk = facts.disk;
  if (!disk.speed) {
    return {"disk", Level::kMissing, fmt::format("{}: {}", disk.folder, disk.trouble),
            "go to a folder that you may write to, with free space", true};
  }
  const double speed = disk.speed->bytes_per_second();
  const std::string found =
      fmt::format("{} free here, written at {:.0f} MB/s{}", readable_bytes(disk.free), speed / 1e6,
                  disk.speed->direct ? "" : " (no direct I/O)");
  if (disk.free < kQuickstartDisk) {
    return {"disk", Level::kMissing,
            fmt::format("{}; the quickstart takes {}", found, readable_bytes(kQuickstartDisk)),
            "free some space, or go to a folder of another disk", true};
  }
  if (speed < kSlowDisk) {
    return {"disk", Level::kWarning,
            fmt::format("{}; a checkpoint of a 124M model takes {:.0f} s", found,
                        kCheckpointOf124M / std::max(speed, 1.0)),
            "put run directories on a faster disk (--run-dir)", false};
  }
  return {"disk", Level::kOk, found, "", false};
}

Finding judge_loopback(const Facts& facts) {
  if (facts.loopback_trouble.empty()) {
    return {"loopback", Level::kOk, "a port can be bound and reached on 127.0.0.1", "", false};
  }
  return {"loopback", Level::kMissing, facts.loopback_trouble, "ip link set lo up", true};
}

Finding judge_registry(const Facts& facts) {
  if (facts.registry.empty()) {
    return {"records", Level::kMissing, "neither XDG_STATE_HOME nor HOME is set",
            "export XDG_STATE_HOME=FOLDER, one that you may write to", true};
  }
  if (facts.registry_trouble.empty()) return {"records", Level::kOk, facts.registry, "", false};
  return {"records", Level::kMissing, facts.registry_trouble,
          "export XDG_STATE_HOME=FOLDER, one that you may write to", true};
}

}  // namespace

std::vector<Finding> judge_machine(const Facts& facts) {
  return {judge_cpu(facts), judge_cores(facts), judge_memory(facts), judge_shared_memory(facts),
          judge_open_files(facts)};
}

std::vector<Finding> judge_places(const Facts& facts) {
  return {judge_disk(facts), judge_loopback(facts), judge_registry(facts)};
}

}  // namespace talaria::doctor
