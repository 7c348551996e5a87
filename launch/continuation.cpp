// SPDX-License-Identifier: Apache-2.0
// What a run that continues from a checkpoint may change, and what it may not.
#include <string>

#include <fmt/format.h>

#include "launch/job_keys.h"
#include "launch/job_reader.h"

namespace talaria::launch {

namespace {

bool may_differ(const JobKey& key) {
  const std::string table = key.table();
  return table == "parallel" || table == "cluster" || table == "checkpoint" || table == "monitor" ||
         key.name == "train.micro_batch" || key.name == "ppo.slots" || key.name == "ppo.offload";
}

std::optional<Difference> difference(const std::string& key, const std::string& before,
                                     const std::string& now) {
  if (before == now) return std::nullopt;
  return Difference{key, fmt::format("found {}, but the run was started with {}; allowed: {}, or "
                                     "another --run-dir",
                                     now, before, before)};
}

}  // namespace

std::optional<Difference> first_difference(const Job& saved, const Job& now) {
  const bool invariant = saved.job.numerics.invariant && now.job.numerics.invariant;
  for (const JobKey& key : job_keys()) {
    if (may_differ(key)) continue;
    if (key.type == KeyType::kSources) {
      if (auto found = difference(key.name, show(saved.data.sources), show(now.data.sources))) {
        return found;
      }
      continue;
    }
    // In fast numerics both follow from the layout.
    if (!invariant && (key.name == "job.virtual_shards" || key.name == "job.sample_groups"))
      continue;
    // More steps are more tokens; train.steps speaks for both.
    if (key.name == "train.tokens") continue;
    if (key.name == "train.steps") {
      if (now.train.steps >= saved.train.steps) continue;
      return Difference{
          key.name, fmt::format("found {}, but the run was started with {}; allowed: {} or more",
                                now.train.steps, saved.train.steps, saved.train.steps)};
    }
    if (auto found = difference(key.name, show(key, saved), show(key, now))) return found;
  }
  return std::nullopt;
}

}  // namespace talaria::launch
