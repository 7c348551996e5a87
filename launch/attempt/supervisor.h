// SPDX-License-Identifier: Apache-2.0
// Waits for the end of a running attempt: of its command, or of the first rank that fails; hears
// the signals that ask for a stop, an end or a dump.
#pragma once

#include <filesystem>
#include <string>

#include "cluster/base/file.h"
#include "launch/attempt/attempt.h"
#include "launch/attempt/reaper.h"
#include "launch/attempt/records.h"

namespace talaria::launch {

// Blocks the signals that a supervisor hears, and SIGCHLD; call it first of all, before a request
// can arrive that would kill.
void block_launcher_signals();
// Is one of them waiting? For a request that came before the command was started.
bool stop_is_requested();
bool end_is_requested();

class Supervisor {
 public:
  Supervisor(const AttemptSpec& spec, Reaper& reaper, RankRecords& records);

  // Returns when nothing is to be waited for any more: the command has ended, a rank has failed
  // (and the command has had a moment to say what it knows), all ranks have ended; or one of the
  // causes below, as a line.
  std::string wait();

 private:
  void hear_signals();
  void read_new_files();
  void request_stop();
  void forward_stop();
  // The next cause, or "" for none; sets over_ when the waiting is over.
  std::string look();
  double seconds_to_look_again() const;
  void wind_down_nodes(bool ask);

  const AttemptSpec& spec_;
  std::filesystem::path folder_;
  Reaper& reaper_;
  RankRecords& records_;
  UniqueFd signals_;
  UniqueFd files_;  // inotify; empty where there is none to be had
  bool over_ = false;
  bool end_requested_ = false;
  bool stop_forwarded_ = false;
  // Monotonic seconds; below 0: not so.
  double stop_requested_ = -1.0;
  double failed_ = -1.0;
  double all_ended_ = -1.0;
  double command_stopped_ = -1.0;
};

}  // namespace talaria::launch
