// SPDX-License-Identifier: Apache-2.0
// Each thing that a machine may lack: the line that it becomes, its remedy, and whether it stops
// the quickstart.
#include <algorithm>
#include <functional>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/doctor/gather.h"
#include "coordinator/doctor/judge.h"
#include "coordinator/doctor/packages.h"
#include "coordinator/doctor/report.h"

namespace talaria::doctor {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kMib = std::int64_t{1} << 20;
constexpr std::int64_t kGib = std::int64_t{1} << 30;

// A machine with everything, a GPU too.
Facts healthy() {
  Facts facts;
  facts.node.cpu = {"Xeon", {"avx2", "fma"}, 16, 16, 0.0};
  facts.node.memory = {64 * kGib, 60 * kGib, 0, 0};
  facts.node.shared_memory = {true, 32 * kGib, 32 * kGib};
  facts.node.open_files = {1024, 4096};
  facts.node.gpus = {1, 1, "580.65.06"};
  Probe probe;
  probe.isa = "avx2+fma";
  probe.mpi_version = "4.1.4";
  probe.mpi_library = "Open MPI v4.1.4";
  probe.mpi_standard = "3.1";
  probe.thread_level = "multiple";
  probe.hdf5 = "1.10.8";
  probe.onednn = "2.6.3";
  probe.module_loaded = true;
  probe.cuda_usable = true;
  probe.cuda_reason = "cuda: 1 device";
  probe.gpus = {{"H100", 80 * kGib, "9.0"}};
  probe.nccl = "2.28.9";
  facts.worker = {"/opt/bin/talaria-worker", true, probe, "", {}};
  facts.mpirun = {"/usr/bin/mpirun", "4.1.4"};
  facts.ranks = {true, "", 2, 2, 0.4, false, ""};
  facts.slurm = {"/usr/bin/sbatch", "/usr/bin/srun", "/usr/bin/scontrol", "22.05.8"};
  facts.disk = {"/data", 100 * kGib, inventory::DiskSpeed{256 * kMib, 0.2, true}, ""};
  facts.registry = "/data/state";
  return facts;
}

const Finding& line(const std::vector<Finding>& findings, const std::string& item) {
  const auto at = std::find_if(findings.begin(), findings.end(),
                               [&](const Finding& finding) { return finding.item == item; });
  static const Finding none = {"(no such line)", Level::kOk, "", "", false};
  return at != findings.end() ? *at : none;
}

TEST(Doctor, AMachineWithEverythingIsFine) {
  const std::vector<Finding> findings = judge(healthy());
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.level, Level::kOk) << finding.item << ": " << finding.found;
    EXPECT_EQ(finding.remedy, "") << finding.item;
  }
  EXPECT_EQ(what_stops(findings), "");
  EXPECT_THAT(report_text(findings), HasSubstr("the quickstart can run"));
}

struct Case {
  const char* name;
  std::function<void(Facts&)> change;
  const char* item;
  Level level;
  bool stops;
  const char* found;   // a part of what the line says
  const char* remedy;  // a part of the remedy
};

const Case kCases[] = {
    {"old processor", [](Facts& f) { f.worker.probe->missing_isa = "avx512f"; }, "processor",
     Level::kMissing, true, "no avx512f", "-DTALARIA_ARCH=x86-64-v3"},
    {"one core", [](Facts& f) { f.node.cpu.allowed = 1; }, "cores", Level::kWarning, false,
     "1 of 16", ""},
    {"quota", [](Facts& f) { f.node.cpu.quota = 4.0; }, "cores", Level::kOk, false, "4 of 16", ""},
    {"little memory", [](Facts& f) { f.node.memory.available = 500 * kMib; }, "memory",
     Level::kMissing, true, "500 MiB of 64 GiB", "memory limit"},
    {"memory limit",
     [](Facts& f) {
       f.node.memory.limit = kGib;
       f.node.memory.limit_free = 600 * kMib;
     },
     "memory", Level::kMissing, true, "the cgroup allows 1.0 GiB", "memory limit"},
    {"just enough memory", [](Facts& f) { f.node.memory.available = kGib; }, "memory",
     Level::kWarning, false, "quickstart only", ""},
    {"no shared memory", [](Facts& f) { f.node.shared_memory = {}; }, "shared memory",
     Level::kMissing, true, "not there", "mount -t tmpfs"},
    {"little shared memory",
     [](Facts& f) {
       f.node.shared_memory = {true, 16 * kMib, 16 * kMib};
     },
     "shared memory", Level::kMissing, true, "16 MiB of 16 MiB",
     "mount -o remount,size=1g /dev/shm"},
    {"full shared memory", [](Facts& f) { f.node.shared_memory.free = kMib; }, "shared memory",
     Level::kMissing, true, "1 MiB of 32 GiB", "ls -lh /dev/shm"},
    {"a container's shared memory",
     [](Facts& f) {
       f.node.shared_memory = {true, 64 * kMib, 64 * kMib};
     },
     "shared memory", Level::kWarning, false, "64 MiB", "--shm-size"},
    {"few files",
     [](Facts& f) {
       f.node.open_files = {64, 64};
     },
     "open files", Level::kMissing, true, "64 a process", "ulimit -Hn"},
    {"few files that may be more",
     [](Facts& f) {
       f.node.open_files = {64, 1 << 20};
     },
     "open files", Level::kMissing, true, "64 a process", "ulimit -n 65536"},
    {"some files",
     [](Facts& f) {
       f.node.open_files = {256, 4096};
     },
     "open files", Level::kWarning, false, "enough for 37 ranks", "ulimit -n 4096"},
    {"files without limit",
     [](Facts& f) {
       f.node.open_files = {-1, -1};
     },
     "open files", Level::kOk, false, "no limit", ""},
    {"no worker",
     [](Facts& f) {
       f.worker.found = false;
       f.worker.probe.reset();
     },
     "worker", Level::kMissing, true, "not there", "scripts/build release"},
    {"libraries missing",
     [](Facts& f) {
       f.worker.probe.reset();
       f.worker.missing_libraries = {"libhdf5_serial.so.103", "libmpi.so.40", "libopen-pal.so.40"};
     },
     "worker", Level::kMissing, true, "libmpi.so.40", "apt-get install libhdf5-103-1 libopenmpi3"},
    {"a worker that crashes",
     [](Facts& f) {
       f.worker.probe.reset();
       f.worker.trouble = "it was killed by signal 4";
     },
     "worker", Level::kMissing, true, "signal 4", "scripts/build release"},
    {"MPI does not start",
     [](Facts& f) {
       f.worker.probe->mpi_error = "MPI_Init_thread ended with exit code 1";
       f.worker.trouble = "A call to mkdir was unable to create /tmp/ompi";
     },
     "MPI library", Level::kMissing, true, "unable to create /tmp/ompi", "temporary folder"},
    {"another MPI", [](Facts& f) { f.worker.probe->mpi_version = ""; }, "MPI library",
     Level::kWarning, false, "made for Open MPI", "libopenmpi-dev"},
    {"no threads", [](Facts& f) { f.worker.probe->thread_level = "single"; }, "MPI threads",
     Level::kMissing, true, "funneled is needed", "libopenmpi-dev"},
    {"no mpirun",
     [](Facts& f) {
       f.mpirun = {};
       f.ranks = {};
     },
     "mpirun", Level::kMissing, true, "not found", "apt-get install openmpi-bin"},
    {"another mpirun", [](Facts& f) { f.mpirun.version = ""; }, "mpirun", Level::kMissing, true,
     "not Open MPI's", "PATH"},
    {"mpirun of another version", [](Facts& f) { f.mpirun.version = "5.0.1"; }, "mpirun",
     Level::kWarning, false, "5.0.1", "PATH"},
    {"mpirun of another version that fails",
     [](Facts& f) {
       f.mpirun.version = "5.0.1";
       f.ranks.met = 0;
     },
     "mpirun", Level::kMissing, true, "library of 4.1.4", "PATH"},
    {"ranks not tried", [](Facts& f) { f.ranks = {false, "no room", 2, 0, 0, false, ""}; }, "ranks",
     Level::kMissing, false, "not tried: no room", ""},
    {"ranks alone", [](Facts& f) { f.ranks.met = 1; }, "ranks", Level::kMissing, true,
     "each is alone", "PATH"},
    {"no ranks",
     [](Facts& f) {
       f.ranks.met = 0;
       f.ranks.trouble = "There are not enough slots";
     },
     "ranks", Level::kMissing, true, "not enough slots", "mpirun -n 2"},
    {"ranks that hang",
     [](Facts& f) {
       f.ranks.met = 0;
       f.ranks.timed_out = true;
     },
     "ranks", Level::kMissing, true, "did not end", "mpirun -n 2"},
    {"slow ranks", [](Facts& f) { f.ranks.seconds = 11.0; }, "ranks", Level::kWarning, false,
     "11.0 s", ""},
    {"root", [](Facts& f) { f.root = true; }, "root", Level::kOk, false,
     "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", ""},
    {"old HDF5", [](Facts& f) { f.worker.probe->hdf5 = "1.8.16"; }, "HDF5", Level::kMissing, true,
     "1.8.16", "libhdf5-dev"},
    {"no Slurm", [](Facts& f) { f.slurm = {}; }, "Slurm", Level::kMissing, false, "no commands",
     "apt-get install slurm-client"},
    {"half of Slurm", [](Facts& f) { f.slurm.srun = ""; }, "Slurm", Level::kWarning, false, "some",
     "slurm-client"},
    {"no module",
     [](Facts& f) {
       f.worker.probe->module_loaded = f.worker.probe->cuda_usable = false;
       f.worker.probe->cuda_reason = "cpu: no CUDA module: /x/libtalaria_cuda.so is missing";
     },
     "CUDA module", Level::kMissing, false, "/x/libtalaria_cuda.so is missing", "scripts/build"},
    {"no driver",
     [](Facts& f) {
       f.node.gpus = {2, 0, ""};
       f.worker.probe->cuda_usable = false;
     },
     "driver", Level::kWarning, false, "2 NVIDIA GPUs are there", "apt-get install nvidia-driver"},
    {"GPU without CUDA",
     [](Facts& f) {
       f.worker.probe->cuda_usable = false;
       f.worker.probe->cuda_reason = "cpu: the CUDA driver is too old";
     },
     "GPUs", Level::kWarning, false, "not usable: the CUDA driver is too old", "lines above"},
    {"no GPU",
     [](Facts& f) {
       f.node.gpus = {};
       f.worker.probe->cuda_usable = false;
     },
     "GPUs", Level::kMissing, false, "on the CPU", ""},
    {"no NCCL",
     [](Facts& f) {
       f.worker.probe->nccl = "";
       f.worker.probe->nccl_error = "libnccl.so.2 does not load";
     },
     "NCCL", Level::kMissing, false, "libnccl.so.2", "apt-get install libnccl2"},
    {"a folder that is read-only",
     [](Facts& f) {
       f.disk.speed.reset();
       f.disk.trouble = "create a file in /data: Read-only file system (errno 30)";
     },
     "disk", Level::kMissing, true, "Read-only", "go to a folder"},
    {"a full disk", [](Facts& f) { f.disk.free = 100 * kMib; }, "disk", Level::kMissing, true,
     "100 MiB free", "free some space"},
    {"a slow disk", [](Facts& f) { f.disk.speed->seconds = 26.8; }, "disk", Level::kWarning, false,
     "10 MB/s", "faster disk"},
    {"no loopback",
     [](Facts& f) { f.loopback_trouble = "bind 127.0.0.1: Cannot assign requested address"; },
     "loopback", Level::kMissing, true, "Cannot assign", "ip link set lo up"},
    {"no home", [](Facts& f) { f.registry = ""; }, "records", Level::kMissing, true, "HOME",
     "XDG_STATE_HOME"},
    {"a home that is read-only", [](Facts& f) { f.registry_trouble = "write to /h: no"; },
     "records", Level::kMissing, true, "/h", "XDG_STATE_HOME"},
};

TEST(Doctor, EachThingThatIsMissingHasItsLineAndRemedy) {
  for (const Case& each : kCases) {
    SCOPED_TRACE(each.name);
    Facts facts = healthy();
    each.change(facts);
    const std::vector<Finding> findings = judge(facts);
    const Finding& finding = line(findings, each.item);
    EXPECT_STREQ(level_name(finding.level), level_name(each.level));
    EXPECT_EQ(finding.stops, each.stops);
    EXPECT_THAT(finding.found, HasSubstr(each.found));
    EXPECT_THAT(finding.remedy, HasSubstr(each.remedy));
    const std::string stops = what_stops(findings);
    EXPECT_EQ(!stops.empty(), each.stops) << stops;
    if (each.stops) {
      EXPECT_THAT(stops, HasSubstr(each.item));
      EXPECT_TRUE(report_text(findings).ends_with(stops + "\n"));
    }
  }
}

TEST(Doctor, AllThatStopsIsNamedInTheLastLine) {
  Facts facts = healthy();
  facts.mpirun = {};
  facts.ranks = {};
  facts.node.shared_memory.free = 0;
  EXPECT_EQ(what_stops(judge(facts)),
            "the quickstart cannot run: shared memory (remove what other programs left: ls -lh "
            "/dev/shm); mpirun (apt-get install openmpi-bin)");
}

TEST(Doctor, RanksThatFailPointToTheCause) {
  Facts facts = healthy();
  facts.ranks.met = 0;
  facts.loopback_trouble = "connect 127.0.0.1: Network is unreachable";
  EXPECT_EQ(line(judge(facts), "ranks").remedy, "mend the other lines first");
  EXPECT_TRUE(line(judge(facts), "ranks").stops);
}

TEST(Doctor, TheTableKeepsEachValueOnItsLine) {
  Facts facts = healthy();
  facts.registry_trouble = "write to /h\nok  all is fine\033[2J";
  const std::string text = report_text(judge(facts));
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_THAT(text, HasSubstr("/h\\nok"));
}

TEST(Doctor, JsonHasTheSame) {
  Facts facts = healthy();
  facts.mpirun = {};
  const boost::json::value value = boost::json::parse(report_json(judge(facts), facts));
  EXPECT_FALSE(value.at("quickstart").as_bool());
  EXPECT_EQ(value.at("stops").as_array(), boost::json::array({"mpirun"}));
  EXPECT_EQ(value.at("node").at("cpu").at("usable").as_int64(), 16);
  EXPECT_EQ(value.at("findings").as_array().size(), judge(facts).size());
}

TEST(Doctor, AnswersOfTheWorkerAreRead) {
  const Result<Probe> probe = parse_probe(
      "a warning of MPI\n"
      R"({"cpu":{"isa":"avx2","missing":""},"mpi":{"library":"Open MPI v4.1.4","version":"4.1.4",)"
      R"("standard":"3.1","thread_level":"multiple","rank":0,"ranks":3},"hdf5":"1.10.8",)"
      R"("onednn":"2.6.3","cuda":{"module":"m","loaded":true,"reason":"cuda: 1","usable":true,)"
      R"("devices":[{"name":"H100","memory_bytes":85899345920,"capability":"9.0"}]},)"
      R"("nccl":{"error":"none"}})");
  ASSERT_TRUE(probe) << probe.error();
  EXPECT_EQ(probe.value().ranks, 3);
  EXPECT_EQ(probe.value().gpus.at(0).memory_bytes, 80 * kGib);
  EXPECT_EQ(probe.value().nccl_error, "none");
  for (const char* text :
       {"", "nothing", "{", "{}", R"({"cpu":3})", "[]", "{\"cpu\":{\"isa\":1}}"}) {
    EXPECT_FALSE(parse_probe(text)) << text;
  }
}

TEST(Doctor, MissingLibrariesAndTheirPackages) {
  const std::vector<std::string> missing = libraries_not_found(
      "\tlinux-vdso.so.1 (0x7f)\n\tlibfmt.so.9 => /lib/libfmt.so.9 (0x7f)\n"
      "\tlibmpi.so.40 => not found\n\tlibdnnl.so.2 => not found\n");
  EXPECT_EQ(missing, (std::vector<std::string>{"libmpi.so.40", "libdnnl.so.2"}));
  EXPECT_EQ(install_command(missing), "apt-get install libopenmpi3 libdnnl2");
  EXPECT_EQ(install_command({"libmpi.so.40", "libunheard.so.1"}), "scripts/install build");
}

TEST(Doctor, OpenMpisBoxesBecomeOneLine) {
  const std::string rule(76, '-');
  EXPECT_EQ(main_complaint(rule + "\nA call to mkdir failed:\n\n  Directory: /tmp/x\n" + rule +
                           "\n[vm] ORTE_ERROR_LOG: Error\n" + rule + "\nanother\n" + rule + "\n"),
            "A call to mkdir failed: Directory: /tmp/x");
  EXPECT_EQ(main_complaint("\n  error while loading\nmore\n"), "error while loading");
  EXPECT_EQ(main_complaint(""), "");
}

TEST(Doctor, SizesAreReadable) {
  EXPECT_EQ(readable_bytes(0), "0 KiB");
  EXPECT_EQ(readable_bytes(48 * kMib), "48 MiB");
  EXPECT_EQ(readable_bytes(kGib + kGib / 2), "1.5 GiB");
  EXPECT_EQ(readable_bytes(100 * kGib), "100 GiB");
}

}  // namespace
}  // namespace talaria::doctor
