// SPDX-License-Identifier: Apache-2.0
// The job file as tables of raw values, read by the table of keys; the rules between keys speak
// through it, so that every complaint has its line.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "cluster/base/config.h"
#include "launch/job.h"
#include "launch/job_keys.h"

namespace talaria::launch {

class JobReader {
 public:
  // Refuses unknown tables, and [[stage]].
  explicit JobReader(const ConfigFile& file);

  // Every key of the file, each judged by itself; refuses unknown keys.
  Job read();

  // Whether the file gives "table.key".
  bool given(const std::string& name) const;
  // An integer key of the file that no field of Job holds.
  std::optional<std::int64_t> integer(const std::string& name) const;
  // Throws UsageError "file:line: table.key: message".
  [[noreturn]] void refuse(const std::string& name, const std::string& message) const;

 private:
  void read_preset(Job& job);
  void read_key(const JobKey& key, Job& job);
  void read_choice(const JobKey& key, const Field& field);
  void read_sources(const JobKey& key, Job& job);
  const ConfigTable& table_of(const std::string& name) const;

  std::map<std::string, ConfigTable> tables_;
};

// The rules between keys, and the defaults that follow from other keys, or, in a run that
// continues, from the job that it was `saved` with (else null).
void settle(const JobReader& reader, const Job* saved, Job& job);

// The part of settle that judges what belongs to one job.kind.
void settle_recipe(const JobReader& reader, Job& job);
// The part of settle that judges cluster.hosts, launch_agent and the [monitor] table.
void settle_cluster(const JobReader& reader, const Job& job);
void settle_monitor(const JobReader& reader, const Job& job);

// Whether `name` may name a run or a job stage, and so a folder.
bool is_run_name(const std::string& name);
inline constexpr const char* kRunNameRule =
    "allowed: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first, for example name = \"first\"";

struct Difference {
  std::string key;
  std::string message;  // "found 0.2, but the run was started with 0.1; allowed: ..."
};
// The first key that a continued run may not change and `now` does.
std::optional<Difference> first_difference(const Job& saved, const Job& now);

}  // namespace talaria::launch
