// SPDX-License-Identifier: Apache-2.0
// From what is known of an attempt's end to its outcome and the one line that says why. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/attempt/attempt.h"

namespace talaria::launch {

struct Facts {
  int ranks = 1;
  std::vector<RankExit> exits;  // that are known, by rank
  // Those that were known when the launcher began to kill; what came later may have ended of that.
  std::vector<RankExit> before_kill;
  // The last line of the log of each rank that failed and has one.
  std::map<int, std::string> last_words;
  // The command's name and wait status; nothing: it did not end by itself, or an earlier launcher
  // had it.
  std::string command = "mpirun";
  std::optional<int> command_status;
  bool command_out_of_memory = false;
  std::vector<std::string> command_lines;  // the last of its log
  bool never_started = false;              // a request to stop came first
  // Why the launcher ended the attempt, where it did so without a rank's end as the cause.
  std::string cause;
};

struct Verdict {
  Outcome outcome = Outcome::kFailed;
  std::string reason;
  // The rank that ended first with neither 0 nor 75; of several that ended together with the same
  // code, as ranks do that agree on a failure, the one that said why.
  std::optional<RankExit> first;
  double failed = 0.0;  // when; 0: nothing went wrong
};

Verdict judge(const Facts& facts);

// Ended with neither 0 nor 75, of itself.
bool is_failure(const RankExit& exit);
// "rank 3 on node1 was killed by signal 9 (SIGKILL) in step 18"
std::string describe(const RankExit& exit);
// "was killed by signal 9 (SIGKILL)", "ended with exit code 1"
std::string describe_end(int exit_code, int signal, bool out_of_memory);

// kDone 0, kStopped 75, kFailed 1, kInvalid 2
int outcome_code(Outcome outcome);

// A line of a log without the time at its beginning ("2026-11-24T15:42:24.314Z ").
std::string without_time(const std::string& line);
// The last lines of a log, at most 20, each one_line()d and cut at 400 bytes.
std::vector<std::string> last_lines(const std::string& end_of_log);

}  // namespace talaria::launch
