// SPDX-License-Identifier: Apache-2.0
// The real `talaria coordinator` for a test: started, killed, started again, and asked through the
// real command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <sys/types.h>

#include "cluster/base/subprocess.h"

namespace talaria::testing_support {

// Runs `talaria ARGS`.
Captured talaria_command(const std::vector<std::string>& args, double timeout_seconds = 30);

class Daemon {
 public:
  // `options` go to `talaria coordinator`.
  explicit Daemon(std::filesystem::path state_directory, std::vector<std::string> options = {});
  // Ends the process; what it started goes on.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Starts the process and waits until it answers or has died. `more` options for this start only.
  void start(const std::vector<std::string>& more = {});
  void kill(int signal);
  // Whether it has died; reaps it.
  bool dead();
  pid_t pid() const { return pid_; }
  double cpu_seconds() const;  // of the running process

  // `talaria ARGS --state-dir STATE`.
  Captured ask(std::vector<std::string> args, double timeout_seconds = 30) const;
  // `talaria show ID --json`.
  boost::json::object show(std::int64_t job) const;
  std::string state_of(std::int64_t job) const;
  // Waits until the job has ended; returns its state, "" when the time is up.
  std::string wait_for_end(std::int64_t job, double timeout_seconds) const;

  const std::filesystem::path& state_directory() const { return state_directory_; }
  std::string log() const;

 private:
  std::filesystem::path state_directory_;
  std::vector<std::string> options_;
  pid_t pid_ = 0;
};

}  // namespace talaria::testing_support
