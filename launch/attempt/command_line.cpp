// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/command_line.h"

#include <set>

#include <fmt/format.h>
#include <unistd.h>

#include "cluster/wire/rank_status.h"
#include "launch/attempt/attempt.h"

namespace talaria::launch {

CommandLine mpirun_command(const Job& job, const Tools& tools, const std::string& run_directory,
                           int attempt, const std::string& attempt_id, const std::string& scratch) {
  CommandLine command;
  std::vector<std::string>& argv = command.argv;
  const auto add = [&argv](std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
  };
  const auto set = [&add](const char* parameter, const std::string& value) {
    add({"--mca", parameter, value});
  };
  const std::string folder = attempt_folder(run_directory, attempt).string();

  add({tools.mpirun, "-n", std::to_string(job.cluster.ranks), "--bind-to", "none"});
  if (job.cluster.hosts.empty()) {
    add({"--oversubscribe"});
  } else {
    add({"--host", host_list(job.cluster), "--map-by", "slot"});
    // The others come from the launcher's own environment on each node.
    add({"-x", wire::kAttemptIdVariable});
    if (!job.cluster.launch_agent.empty()) set("plm_rsh_agent", job.cluster.launch_agent);
  }
  set("orte_tmpdir_base", scratch);
  set("btl_vader_backing_directory", scratch);
  set("btl_vader_single_copy_mechanism", "none");
  set("mpi_yield_when_idle", "1");
  set("oob_tcp_keepalive_time", "3");
  set("oob_tcp_keepalive_intvl", "2");
  set("oob_tcp_keepalive_probes", "3");
  add({tools.launch, "rank", "--attempt-dir", folder, "--"});
  add({tools.worker, "--job", folder + "/job.toml", "--run-dir", run_directory, "--attempt",
       std::to_string(attempt), "--attempt-id", attempt_id, "--attempt-dir", folder, "--progress",
       "none"});
  // Open MPI refuses root without both; they mean nothing to another user.
  command.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  return command;
}

std::string attempt_scratch(const std::string& attempt_id) {
  const char* folder = ::access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
  return fmt::format("{}/talaria-{}", folder, attempt_id);
}

int node_count(const Job& job) {
  std::set<std::string> names;
  for (const std::string& host : job.cluster.hosts) names.insert(host.substr(0, host.find(':')));
  return names.empty() ? 1 : static_cast<int>(names.size());
}

}  // namespace talaria::launch
