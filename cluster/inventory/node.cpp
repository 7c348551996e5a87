// SPDX-License-Identifier: Apache-2.0
#include "cluster/inventory/node.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cluster/inventory/cgroup.h"
#include "cluster/inventory/small_read.h"

namespace talaria::inventory {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kKib = 1024;

// The kernel's names of the features that the CPU kernels or oneDNN choose by, and the usual ones.
struct FeatureName {
  const char* kernel;
  const char* usual;
};
constexpr FeatureName kFeatures[] = {
    {"avx", "avx"},           {"avx2", "avx2"},         {"fma", "fma"},
    {"avx512f", "avx512f"},   {"avx512bw", "avx512bw"}, {"avx512_vnni", "avx512_vnni"},
    {"avx512_bf16", "bf16"},  {"avx512_fp16", "fp16"},  {"amx_tile", "amx"},
    {"amx_bf16", "amx_bf16"},
};

// How many entries of a folder fit, all of whose name after `prefix` is digits.
int count_numbered(const fs::path& folder, const std::string& prefix) {
  int count = 0;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool fits = name.size() > prefix.size() && name.starts_with(prefix) &&
                      name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
    if (fits) ++count;
  }
  return count;
}

int allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on machines with more processors than the set holds; all of them then count.
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

Cpu read_cpu(const fs::path& root) {
  Cpu cpu;
  std::set<std::string> flags;
  for (const std::string& line : lines_of(read_or_empty(root / "proc/cpuinfo"))) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t:", colon) + 1);
    const std::string value = line.substr(std::min(line.size(), colon + 2));
    if (key == "processor") ++cpu.online;
    if (key == "model name") cpu.model = value;
    if (key == "flags" && flags.empty()) {
      const std::vector<std::string> words = words_of(value);
      flags.insert(words.begin(), words.end());
    }
  }
  for (const FeatureName& feature : kFeatures) {
    if (flags.contains(feature.kernel)) cpu.features.emplace_back(feature.usual);
  }
  cpu.allowed = allowed_processors();
  if (cpu.allowed == 0) cpu.allowed = cpu.online;
  return cpu;
}

Memory read_memory(const fs::path& root) {
  Memory memory;
  for (const std::string& line : lines_of(read_or_empty(root / "proc/meminfo"))) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() < 2) continue;
    const std::int64_t bytes = whole_number(words[1]).value_or(0) * kKib;
    if (words[0] == "MemTotal:") memory.total = bytes;
    if (words[0] == "MemAvailable:") memory.available = bytes;
  }
  return memory;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ..." or "... Open Kernel Module for
// x86_64  580.65.06 ...": the first word that is a version.
std::string driver_version(const std::string& text) {
  for (const std::string& word : words_of(text)) {
    const bool version = word.find('.') != std::string::npos && word[0] >= '0' && word[0] <= '9' &&
                         word.find_first_not_of("0123456789.") == std::string::npos;
    if (version) return word;
  }
  return "";
}

Gpus read_gpus(const fs::path& root) {
  Gpus gpus;
  std::error_code error;
  const fs::path devices = root / "sys/bus/pci/devices";
  for (fs::directory_iterator at(devices, error), end; !error && at != end; at.increment(error)) {
    const std::string vendor = read_or_empty(at->path() / "vendor");
    const std::string kind = read_or_empty(at->path() / "class");
    // Class 0x03 is a display controller: 0x0300 VGA, 0x0302 3D.
    if (vendor.starts_with("0x10de") && kind.starts_with("0x03")) ++gpus.on_bus;
  }
  const fs::path driver = root / "proc/driver/nvidia";
  gpus.driver = driver_version(read_or_empty(driver / "version"));
  for (fs::directory_iterator at(driver / "gpus", error), end; !error && at != end;
       at.increment(error)) {
    ++gpus.by_driver;
  }
  if (gpus.by_driver == 0) gpus.by_driver = count_numbered(root / "dev", "nvidia");
  return gpus;
}

OpenFiles read_open_files() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  const auto value = [](rlim_t bound) {
    return bound == RLIM_INFINITY ? std::int64_t{-1} : static_cast<std::int64_t>(bound);
  };
  return {value(limit.rlim_cur), value(limit.rlim_max)};
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

}  // namespace

int Cpu::usable() const {
  int cores = std::max(1, allowed);
  if (quota > 0.0) cores = std::min(cores, static_cast<int>(std::ceil(quota)));
  return std::max(1, cores);
}

std::int64_t Memory::usable() const {
  return limit > 0 ? std::min(available, limit_free) : available;
}

FileSystem look_at(const fs::path& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return {};
  const auto unit = static_cast<std::int64_t>(info.f_frsize);
  return {true, static_cast<std::int64_t>(info.f_blocks) * unit,
          static_cast<std::int64_t>(info.f_bavail) * unit};
}

Node take_inventory(const fs::path& root) {
  Node node;
  node.host = host_name();
  node.cpu = read_cpu(root);
  node.numa_nodes = std::max(1, count_numbered(root / "sys/devices/system/node", "node"));
  node.memory = read_memory(root);
  const GroupLimits limits = read_group_limits(root);
  node.cpu.quota = limits.cores;
  node.memory.limit = limits.memory;
  node.memory.limit_free = limits.memory_free;
  node.shared_memory = look_at(root / "dev/shm");
  node.open_files = read_open_files();
  node.gpus = read_gpus(root);
  return node;
}

}  // namespace talaria::inventory
