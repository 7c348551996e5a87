// SPDX-License-Identifier: Apache-2.0
// An attempt in a folder of its own, run by the real talaria-launch, with launcher_program as
// mpirun and worker; and what must be true when it has ended.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/types.h>

#include "launch/attempt/attempt.h"

namespace talaria::launch {

class LauncherTest : public testing::Test {
 protected:
  LauncherTest();
  // Kills what is left, and fails the test if something is.
  ~LauncherTest() override;

  // A spec of `ranks` ranks that do `words`.
  AttemptSpec spec(int ranks, const std::vector<std::string>& words) const;
  // Starts talaria-launch on it. `crash_point`: "" or NAME:HIT. uid 0: as this user.
  pid_t start(const AttemptSpec& spec, const std::string& crash_point = "", uid_t uid = 0);
  // Its wait status; after `seconds` it is killed and the test fails.
  int wait(pid_t launcher, double seconds = 20.0);
  // Start, wait, read: the exit code must be 0.
  ExitReport run(const AttemptSpec& spec);
  ExitReport report() const;  // that must be there

  // True as soon as `condition` is; false after `seconds`.
  static bool eventually(const std::function<bool()>& condition, double seconds = 10.0);
  bool is_running(int ranks) const;  // all of them have their log, the last word said
  pid_t worker(int rank) const;      // pid of the rank's worker, 0: none
  pid_t shim(int rank) const;
  std::string text(const std::string& file) const;  // of the attempt's folder; "" where missing
  int starts() const;                               // how often the command was started

  // No process, no shared memory, no control group of the attempt.
  void expect_nothing_left() const;

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path attempt() const { return folder_ / "run/attempt-001"; }

 private:
  std::filesystem::path folder_;
  std::string id_;
  std::vector<pid_t> launchers_;  // not waited for yet
};

}  // namespace talaria::launch
