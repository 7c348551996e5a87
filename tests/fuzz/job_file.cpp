// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/config.h"
#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/job_keys.h"
#include "launch/stages.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {

namespace {

constexpr std::size_t kMostMessageBytes = 16384;

void check_message(const std::string& message) {
  if (one_line(message) != message) throw std::logic_error("not one printable line: " + message);
  if (message.size() > kMostMessageBytes) throw std::logic_error("endless message: " + message);
}

// The effective file of a job gives the job.
void check_effective(const launch::Job& job) {
  const launch::Job again =
      launch::parse_job(ConfigFile::parse(job.effective_toml, "effective.toml"));
  if (again.effective_toml != job.effective_toml) {
    throw std::logic_error("the effective file changed: " + job.effective_toml);
  }
  for (const launch::JobKey& key : launch::job_keys()) {
    if (launch::show(key, again) == launch::show(key, job)) continue;
    throw std::logic_error(fmt::format("{} changed: {}", key.name, job.effective_toml));
  }
  if (launch::show(again.data.sources) != launch::show(job.data.sources)) {
    throw std::logic_error("data.sources changed: " + job.effective_toml);
  }
  launch::check_continuation(job, again);
}

}  // namespace

void job_file(std::string_view bytes) {
  std::vector<std::string> parts(1);
  for (const char c : bytes) {
    if (c == '\0') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  const std::vector<std::string> overrides(parts.begin() + 1, parts.end());
  launch::StagedJob job;
  try {
    job = launch::parse_stages(ConfigFile::parse(parts[0], "j.toml", overrides));
  } catch (const UsageError& error) {
    check_message(error.what());
    return;
  }
  for (const launch::Stage& stage : job.stages) check_effective(stage.job);
}

}  // namespace talaria::fuzz
