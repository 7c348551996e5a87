// SPDX-License-Identifier: Apache-2.0
// From what was found to what it means: pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/doctor/facts.h"

namespace talaria::doctor {

enum class Level : std::uint8_t { kOk, kWarning, kMissing };
const char* level_name(Level level);  // "ok", "warning", "missing"

// One line of the table.
struct Finding {
  std::string item;
  Level level = Level::kOk;
  std::string found;
  std::string remedy;  // a command, or what to do; may be empty
  bool stops = false;  // the quickstart cannot run
};

// What the quickstart takes, on one node: 8 ranks of examples/quickstart.toml. Memory and shared
// memory were measured; a group of n ranks in shared memory takes up to 2 MiB of staging a rank, a
// rank is in four groups, and Open MPI adds up to 4 MiB a rank.
inline constexpr int kQuickstartRanks = 8;
inline constexpr std::int64_t kQuickstartMemory = std::int64_t{768} << 20;
inline constexpr std::int64_t kQuickstartSharedMemory = std::int64_t{48} << 20;
inline constexpr std::int64_t kQuickstartDisk = std::int64_t{512} << 20;
// mpirun holds about 5 descriptors a rank and 24 of its own, and waits for ever when they run out.
inline constexpr std::int64_t kFilesOfMpirun = 32;
inline constexpr std::int64_t kFilesOfARank = 6;

// In the order of the table.
std::vector<Finding> judge(const Facts& facts);

// "" when the quickstart can run; else one line that names everything that stops it.
std::string what_stops(const std::vector<Finding>& findings);

// The parts of judge().
std::vector<Finding> judge_machine(const Facts& facts);
std::vector<Finding> judge_programs(const Facts& facts);
std::vector<Finding> judge_gpus(const Facts& facts);
std::vector<Finding> judge_places(const Facts& facts);

}  // namespace talaria::doctor
