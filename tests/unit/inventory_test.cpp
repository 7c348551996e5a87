// SPDX-License-Identifier: Apache-2.0
// A machine laid out in a folder: what the inventory makes of cpuinfo, meminfo, both versions of
// control groups, GPUs; and the disk measured for real.
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/inventory/cgroup.h"
#include "cluster/inventory/disk.h"
#include "cluster/inventory/node.h"
#include "cluster/inventory/programs.h"

namespace talaria::inventory {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kGib = std::int64_t{1} << 30;

class Inventory : public testing::Test {
 protected:
  void SetUp() override {
    static int count = 0;
    root_ = fs::temp_directory_path() / fmt::format("talaria_inventory_{}_{}", ::getpid(), count++);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  void put(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  fs::path root_;
};

TEST_F(Inventory, AnEmptyMachineGivesNothingAndThrowsNothing) {
  const Node node = take_inventory(root_);
  EXPECT_EQ(node.cpu.model, "");
  EXPECT_EQ(node.cpu.online, 0);
  EXPECT_GE(node.cpu.usable(), 1);
  EXPECT_EQ(node.memory.usable(), 0);
  EXPECT_FALSE(node.shared_memory.mounted);
  EXPECT_EQ(node.gpus.on_bus + node.gpus.by_driver, 0);
  EXPECT_EQ(node.numa_nodes, 1);
}

TEST_F(Inventory, ThisMachineHasProcessorsMemoryAndLimits) {
  const Node node = take_inventory();
  EXPECT_FALSE(node.host.empty());
  EXPECT_GE(node.cpu.online, 1);
  EXPECT_LE(node.cpu.usable(), node.cpu.online);
  EXPECT_GT(node.memory.usable(), 0);
  EXPECT_GE(node.memory.total, node.memory.usable());
  EXPECT_GT(node.open_files.soft, 0);
}

TEST_F(Inventory, ProcessorMemoryNumaAndGpus) {
  put("proc/cpuinfo",
      "processor\t: 0\nmodel name\t: Xeon Test\nflags\t\t: fpu avx avx2 fma avx512f avx512_bf16 "
      "amx_tile\n\nprocessor\t: 1\nmodel name\t: Xeon Test\nflags\t\t: fpu\n");
  put("proc/meminfo", "MemTotal:       4194304 kB\nMemFree: 1 kB\nMemAvailable:   2097152 kB\n");
  fs::create_directories(root_ / "sys/devices/system/node/node0");
  fs::create_directories(root_ / "sys/devices/system/node/node1");
  put("sys/devices/system/node/nodes_online", "0-1");
  put("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
  put("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
  put("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n");  // its sound
  put("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n");
  put("sys/bus/pci/devices/0000:02:00.0/vendor", "0x8086\n");
  put("sys/bus/pci/devices/0000:02:00.0/class", "0x030000\n");
  put("proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n");
  put("dev/nvidia0", "");
  put("dev/nvidiactl", "");
  const Node node = take_inventory(root_);
  EXPECT_EQ(node.cpu.model, "Xeon Test");
  EXPECT_EQ(node.cpu.online, 2);
  EXPECT_EQ(node.cpu.features,
            (std::vector<std::string>{"avx", "avx2", "fma", "avx512f", "bf16", "amx"}));
  EXPECT_EQ(node.memory.total, 4 * kGib);
  EXPECT_EQ(node.memory.usable(), 2 * kGib);
  EXPECT_EQ(node.numa_nodes, 2);
  EXPECT_EQ(node.gpus.on_bus, 1);
  EXPECT_EQ(node.gpus.by_driver, 1);
  EXPECT_EQ(node.gpus.driver, "580.65.06");
}

TEST_F(Inventory, Version2TakesTheTightestLimitOnTheWayUp) {
  put("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
  put("proc/self/cgroup", "0::/slice/job\n");
  put("sys/fs/cgroup/slice/job/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/slice/job/memory.max", fmt::format("{}\n", 4 * kGib));
  put("sys/fs/cgroup/slice/job/memory.current", fmt::format("{}\n", kGib));
  put("sys/fs/cgroup/slice/cpu.max", "150000 100000\n");
  put("sys/fs/cgroup/slice/memory.max", fmt::format("{}\n", 3 * kGib));
  put("sys/fs/cgroup/slice/memory.current", fmt::format("{}\n", 2 * kGib));
  put("sys/fs/cgroup/slice/memory.stat", fmt::format("anon 5\ninactive_file {}\n", kGib / 2));
  const GroupLimits limits = read_group_limits(root_);
  EXPECT_DOUBLE_EQ(limits.cores, 1.5);
  EXPECT_EQ(limits.memory, 3 * kGib);
  EXPECT_EQ(limits.memory_free, 3 * kGib / 2);
}

TEST_F(Inventory, Version1KnowsEachControllerByItself) {
  put("proc/self/mountinfo",
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  put("proc/self/cgroup", "4:memory:/job\n1:cpu,cpuacct:/\n0::/\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", fmt::format("{}\n", kGib));
  put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", fmt::format("{}\n", kGib / 4));
  const GroupLimits limits = read_group_limits(root_);
  EXPECT_DOUBLE_EQ(limits.cores, 2.0);
  EXPECT_EQ(limits.memory, kGib);
  EXPECT_EQ(limits.memory_free, 3 * kGib / 4);
}

// The group is named by its path on the host, of which the container sees only the end.
TEST_F(Inventory, InAContainerTheMountPointIsTheGroup) {
  put("proc/self/mountinfo",
      "35 31 0:32 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  put("proc/self/cgroup", "4:memory:/docker/f00\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", fmt::format("{}\n", 2 * kGib));
  EXPECT_EQ(read_group_limits(root_).memory, 2 * kGib);
  put("proc/self/cgroup", "4:memory:/elsewhere\n");
  EXPECT_EQ(read_group_limits(root_).memory, 2 * kGib);
}

TEST_F(Inventory, NoLimitAndBrokenFilesGiveNone) {
  put("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\nrubbish\n");
  put("proc/self/cgroup", "0::/\nrubbish\n");
  put("sys/fs/cgroup/cpu.max", "lots of it\n");
  put("sys/fs/cgroup/memory.max", "max\n");
  const GroupLimits limits = read_group_limits(root_);
  EXPECT_EQ(limits.cores, 0.0);
  EXPECT_EQ(limits.memory, 0);
}

TEST_F(Inventory, TheQuotaCutsTheCores) {
  Cpu cpu;
  cpu.online = 64;
  cpu.allowed = 16;
  EXPECT_EQ(cpu.usable(), 16);
  cpu.quota = 2.5;
  EXPECT_EQ(cpu.usable(), 3);
  cpu.quota = 0.1;
  EXPECT_EQ(cpu.usable(), 1);
}

TEST_F(Inventory, TheDiskIsMeasuredAndNothingIsLeft) {
  const Result<DiskSpeed> speed = measure_disk(root_, std::int64_t{16} << 20, 5.0);
  ASSERT_TRUE(speed) << speed.error();
  EXPECT_EQ(speed.value().bytes, std::int64_t{16} << 20);
  EXPECT_GT(speed.value().bytes_per_second(), 0.0);
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(Inventory, TimeBoundsTheMeasurement) {
  const Result<DiskSpeed> speed = measure_disk(root_, std::int64_t{64} << 30, 0.05);
  ASSERT_TRUE(speed) << speed.error();
  EXPECT_LT(speed.value().bytes, std::int64_t{64} << 30);
}

// /dev/shm knows no O_DIRECT.
TEST_F(Inventory, WithoutDirectIOItIsMeasuredThroughTheCache) {
  const Result<DiskSpeed> speed = measure_disk("/dev/shm", std::int64_t{8} << 20);
  ASSERT_TRUE(speed) << speed.error();
  EXPECT_GE(speed.value().bytes, std::int64_t{4} << 20);
}

TEST_F(Inventory, AFolderThatCannotBeWrittenIsAFailure) {
  const Result<DiskSpeed> speed = measure_disk(root_ / "none");
  ASSERT_FALSE(speed);
  EXPECT_NE(speed.error().find("none"), std::string::npos) << speed.error();
  EXPECT_FALSE(measure_disk("/proc"));
}

TEST_F(Inventory, ProgramsAreFoundAlongThePath) {
  put("a/tool", "no program");
  put("b/tool", "#!/bin/sh\n");
  ASSERT_EQ(::chmod((root_ / "b/tool").c_str(), 0755), 0);
  const std::string path = (root_ / "a").string() + ":" + (root_ / "b").string();
  EXPECT_EQ(find_program("tool", path), root_ / "b/tool");
  EXPECT_EQ(find_program("tool", (root_ / "a").string()), "");
  EXPECT_EQ(find_program((root_ / "b/tool").string(), ""), root_ / "b/tool");
  EXPECT_EQ(find_program("b", root_.string()), "") << "a folder is no program";
}

TEST_F(Inventory, SlurmIsAskedForItsVersion) {
  EXPECT_TRUE(find_slurm(root_.string(), 5).sbatch.empty());
  put("sbatch", "#!/bin/sh\necho slurm-wlm 22.05.8\n");
  ASSERT_EQ(::chmod((root_ / "sbatch").c_str(), 0755), 0);
  const Slurm slurm = find_slurm(root_.string(), 5);
  EXPECT_EQ(slurm.sbatch, root_ / "sbatch");
  EXPECT_TRUE(slurm.srun.empty());
  EXPECT_EQ(slurm.version, "22.05.8");
}

TEST_F(Inventory, VersionsInTexts) {
  EXPECT_EQ(version_in("mpirun (Open MPI) 4.1.4\n\nReport bugs"), "4.1.4");
  EXPECT_EQ(version_in("slurm-wlm 22.05.8"), "22.05.8");
  EXPECT_EQ(version_in("v5.0."), "5.0");
  EXPECT_EQ(version_in("no 7 here"), "");
  EXPECT_EQ(version_in(""), "");
}

}  // namespace
}  // namespace talaria::inventory
