// SPDX-License-Identifier: Apache-2.0
// The command that starts the ranks of an attempt, as an argument vector and environment: pure, no
// shell in between. Used for attempts and for the scripts that `talaria script` prints.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/job.h"

namespace talaria::launch {

struct Tools {
  std::string mpirun = "mpirun";
  std::string worker;  // absolute path of talaria-worker
  std::string launch;  // absolute path of talaria-launch
};

struct CommandLine {
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> environment;
};

// mpirun over the job's ranks, each `talaria-launch rank --attempt-dir D -- talaria-worker --job
// D/job.toml --run-dir RUN --attempt N --attempt-id ID --attempt-dir D --progress none`. Local: one
// node, --oversubscribe, ranks not bound. With cluster.hosts: over these, through
// cluster.launch_agent. Each attempt has its own session and shared-memory folders under `scratch`
// (btl_vader_backing_directory, orte_tmpdir_base), keepalive of the daemons' links 3/2/3 s,
// single-copy off. A rank's exit code alone does not make mpirun end the others (75 is no failure),
// nor is it mpirun's own; the launcher, which sees it, acts on it. Throws UsageError for a host
// that mpirun would take for something else.
CommandLine mpirun_command(const Job& job, const Tools& tools, const std::string& run_directory,
                           int attempt, const std::string& attempt_id, const std::string& scratch);

// The attempt's own folder for MPI's session and shared-memory files: /dev/shm/talaria-<attempt_id>
// where /dev/shm is writable, else in /tmp. Made by launcher and ranks, removed by the launcher
// with every segment /dev/shm/talaria-<attempt_id>-<pid>-<number> of a rank.
std::string attempt_scratch(const std::string& attempt_id);

// The nodes that the command starts ranks on: AttemptSpec::nodes.
int node_count(const Job& job);

}  // namespace talaria::launch
