// SPDX-License-Identifier: Apache-2.0
// What the node offers that this process runs on: read from /proc, /sys and /dev, never written.
// What cannot be read stays zero or empty; nothing here throws for a machine that lacks something.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace talaria::inventory {

struct Cpu {
  std::string model;                  // "AMD EPYC 9R14"
  std::vector<std::string> features;  // of those that kernels are chosen by: "avx2", "bf16", ...
  int online = 0;                     // logical processors of the machine
  int allowed = 0;                    // by this process's affinity
  double quota = 0.0;                 // cores' worth of time by the cgroup; 0: no quota

  // How many threads make sense: the allowed ones, cut by the quota; at least 1.
  int usable() const;
};

struct Memory {
  std::int64_t total = 0;       // bytes of the machine
  std::int64_t available = 0;   // for new processes without swapping
  std::int64_t limit = 0;       // of the tightest cgroup; 0: none
  std::int64_t limit_free = 0;  // what is left below that limit

  // What new processes may take: available, cut by the limit.
  std::int64_t usable() const;
};

struct FileSystem {
  bool mounted = false;  // the folder can be looked at
  std::int64_t size = 0;
  std::int64_t free = 0;  // for this user
};

struct OpenFiles {
  std::int64_t soft = 0;  // -1: no limit
  std::int64_t hard = 0;
};

struct Gpus {
  int on_bus = 0;      // NVIDIA display and 3D controllers that PCI lists, with or without a driver
  int by_driver = 0;   // that the driver serves: /proc/driver/nvidia/gpus, else /dev/nvidia0, ...
  std::string driver;  // "580.65.06"; empty: no driver loaded
};

struct Node {
  std::string host;
  Cpu cpu;
  int numa_nodes = 1;
  Memory memory;
  FileSystem shared_memory;  // /dev/shm
  OpenFiles open_files;
  Gpus gpus;
};

// Looks at this node. `root` is "/" but for tests, which lay out a machine of their own; host,
// affinity and the open-file limit always are this process's.
Node take_inventory(const std::filesystem::path& root = "/");

FileSystem look_at(const std::filesystem::path& folder);

}  // namespace talaria::inventory
