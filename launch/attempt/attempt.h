// SPDX-License-Identifier: Apache-2.0
// What the coordinator and the launcher of an attempt tell each other: the spec that a launcher is
// given, and the report, exit.json, that it leaves. Plain values and their JSON;
// docs/orchestrator.md says which file is which.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace talaria::launch {

struct AttemptSpec {
  std::string attempt_id;  // [a-z0-9-], unique for ever; TALARIA_ATTEMPT_ID of every process
  int attempt = 1;         // number in the run directory; the fencing number
  int ranks = 1;
  int nodes = 1;  // that argv starts ranks on; above 1, mpirun gets seconds to end the others'
  std::string run_directory;      // absolute; of the stage
  std::string working_directory;  // absolute; where relative paths of the job file begin
  std::string job_toml;           // the stage's own job file -> attempt-NNN/job.toml
  std::string secret;             // hex -> attempt-NNN/secret, 0600
  std::string channel;            // "host:port" -> attempt-NNN/channel; empty: nobody listens
  std::vector<std::string> argv;  // starts the ranks (command_line.h)
  std::vector<std::pair<std::string, std::string>> environment;  // added to the launcher's own
  std::int64_t memory_limit = 0;      // bytes for all ranks on this node; 0: none
  double stopped_seconds = 30.0;      // how long argv's process may stay stopped (SIGSTOP)
  double stop_grace_seconds = 600.0;  // from a stop request to the kill
};

// A rank's end, as its `talaria-launch rank` saw it: rank-NNNNN.exit.json.
struct RankExit {
  int rank = 0;
  std::string node;
  pid_t pid = 0;
  int exit_code = 0;  // when signal is 0
  int signal = 0;
  bool out_of_memory = false;
  bool orphaned = false;  // what had started it (mpirun, orted) was gone first; never the cause
  double started = 0.0;   // wall seconds
  double ended = 0.0;
  std::string phase;  // in which it ended: "step", "save", ... ("" where the worker told nothing)
  std::int64_t step = 0;  // steps it had done
};

enum class Outcome { kDone, kStopped, kFailed, kInvalid };  // exit codes 0, 75, others, 2
const char* outcome_name(Outcome outcome);  // "done", "stopped", "failed", "invalid"

struct ExitReport {
  std::string attempt_id;
  int attempt = 1;
  Outcome outcome = Outcome::kFailed;
  int exit_code = 1;
  double started = 0.0;
  double failed = 0.0;  // when the first thing went wrong (a rank's death); 0: nothing did
  double ended = 0.0;
  std::string reason;  // one line: "rank 3 on node1 was killed by signal 9 (SIGKILL) in step 17"
  std::optional<RankExit> first;  // the rank that ended first with neither 0 nor 75
  std::vector<std::string>
      last_lines;                // of that rank's log, or of launcher.log; at most 20, one_line()d
  std::vector<RankExit> ranks;   // that are known, by rank; of very many (kMostRanks), the first
  std::vector<pid_t> survivors;  // that could not be killed; empty unless the kernel holds them
};

// [a-z0-9-], 1 to 100 of them.
bool is_attempt_id(const std::string& id);

// So that exit.json stays within kMostFileBytes.
inline constexpr std::size_t kMostRanks = 2000;

std::string to_json(const AttemptSpec& spec);
AttemptSpec parse_spec(const std::string& text);  // throws Error
std::string to_json(const ExitReport& report);
ExitReport parse_exit(const std::string& text);  // throws Error
std::string to_json(const RankExit& exit);
RankExit parse_rank_exit(const std::string& text);  // throws Error

// RUN/attempt-003, and the files in it.
std::filesystem::path attempt_folder(const std::filesystem::path& run_directory, int attempt);
std::string rank_file(int rank, const char* ending);  // rank_file(3, ".log") = "rank-00003.log"

// Who holds RUN/launch.lock. That it is held is certain; the rest is what the file says ("pid 17 on
// host, attempt ID"), and 0 or empty where it says nothing sensible.
struct LauncherState {
  bool alive = false;
  pid_t pid = 0;
  std::string host;
  std::string attempt_id;  // of the attempt it runs
};
// Looks without taking the lock. A missing file: nobody. Throws Error for something that is no
// file.
LauncherState find_launcher(const std::filesystem::path& run_directory);
// Sends a signal to the launcher of this attempt. False, and nothing sent, unless it holds the
// lock, on this machine, in a process that belongs to the owner of the lock's file: so a file in a
// user's folder can never direct a signal of root at a process that is not the user's.
bool signal_launcher(const std::filesystem::path& run_directory, const std::string& attempt_id,
                     int signal);
// RUN/attempt-NNN/exit.json, or nothing while there is none. Throws Error for a damaged one,
// without a word of its content.
std::optional<ExitReport> read_exit(const std::filesystem::path& run_directory, int attempt);

}  // namespace talaria::launch
