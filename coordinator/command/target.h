// SPDX-License-Identifier: Apache-2.0
// Finds jobs for the commands, whoever keeps them: the daemon, a run that serves itself, or a run
// whose coordinator is gone.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/client.h"
#include "coordinator/command/context.h"

namespace talaria::coordinator {

struct FoundJob {
  JobView view;         // as in a list
  bool daemon = false;  // else of `talaria run`
  bool served = true;   // its coordinator answers
  std::filesystem::path state_directory;

  Client client() const { return Client(state_directory); }
  // All of it, now.
  JobView look() const;
  // "running", or for a job whose coordinator is gone before its end: "unwatched" while its attempt
  // goes on, else "interrupted".
  std::string state_word() const;
  // Its id with the daemon, else its name: what a user may call it.
  std::string handle() const;
};

// The daemon that answers, if one does.
std::optional<Client> find_daemon(const Context& context, const std::string& state_directory);
// The same; throws UsageError saying how to start one.
Client require_daemon(const Context& context, const std::string& state_directory);

// Every job that this user may see; those that have ended only with `all`. What at work is first,
// then the queue in its order, then what has ended, newest first.
std::vector<FoundJob> find_jobs(const Context& context, const std::string& state_directory,
                                bool all);

// JOB as users write it: the daemon's id, a name (the newest job of it), a run directory, or the
// last part of its path. Throws UsageError when there is none.
FoundJob find_job(const Context& context, const std::string& state_directory,
                  const std::string& word);

}  // namespace talaria::coordinator
