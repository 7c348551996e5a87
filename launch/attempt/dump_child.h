// SPDX-License-Identifier: Apache-2.0
// Dumps of a worker's stacks on request: the attempt's file `dump` lists ranks, one a line. The
// dump is made in a process of its own, which is killed when it takes too long, so that nothing
// that hangs can hold up the shim.
#pragma once

#include <filesystem>
#include <string>

#include <sys/types.h>

namespace talaria::launch {

class DumpChild {
 public:
  DumpChild(const std::filesystem::path& attempt_folder, int rank);
  ~DumpChild();
  DumpChild(const DumpChild&) = delete;
  DumpChild& operator=(const DumpChild&) = delete;

  void set_worker(pid_t worker) { worker_ = worker; }
  // Starts a dump to rank-NNNNN.stack when `dump` is new and lists the rank.
  void look();
  bool running() const { return child_ != 0; }
  // Takes a finished dump, cuts one that has run for 5 s.
  void tend();
  // Cuts one that runs; the worker is dead.
  void finish();

 private:
  void start();
  void end(bool in_time);

  std::filesystem::path attempt_folder_;
  std::filesystem::path temporary_;
  std::filesystem::path target_;
  int rank_;
  pid_t worker_ = 0;
  pid_t child_ = 0;
  double started_ = 0.0;
  bool worker_was_stopped_ = false;
  std::string seen_;  // which `dump` was looked at: its inode, size and time
};

}  // namespace talaria::launch
