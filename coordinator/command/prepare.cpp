// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/prepare.h"

#include <filesystem>
#include <set>
#include <sstream>

#include "cluster/base/config.h"
#include "cluster/base/log.h"
#include "cluster/base/subprocess.h"
#include "cluster/base/text.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr double kCheckSeconds = 600.0;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// A path that travels as JSON and stands in messages.
std::string plain_path(const fs::path& path, const char* what) {
  std::string text = path.lexically_normal().string();
  if (valid_utf8(text) != text) fail_usage("{} {}: not UTF-8", what, in_quotes(text));
  return text;
}

// Says each line of `text` that no check before has said: stages may read the same files.
void say_once(const std::string& text, std::set<std::string>& told) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (told.insert(line).second) log_line(line);
  }
}

// Asks what needs data or storage to be judged. The worker's complaint is ours. `stage`: "" for a
// file without stages.
void check(const launch::Tools& tools, const JobSource& source, const std::string& stage,
           const std::string& run_directory, std::set<std::string>& told) {
  std::vector<std::string> argv = {tools.worker, "--check", "--job", source.file};
  for (const std::string& each : source.overrides) argv.insert(argv.end(), {"--set", each});
  if (!stage.empty()) argv.insert(argv.end(), {"--stage", stage});
  argv.insert(argv.end(), {"--run-dir", run_directory});
  const Captured run = run_captured(argv, kCheckSeconds);
  const std::string said = trimmed(run.err);
  if (run.timed_out) fail("{} --check gave no answer in {} s", tools.worker, kCheckSeconds);
  if (run.exit_code == kExitUsage) throw UsageError(said);
  if (run.exit_code != 0) {
    fail("{} --check ended with {}{}{}", tools.worker,
         run.signal != 0 ? fmt::format("signal {}", run.signal)
                         : fmt::format("exit code {}", run.exit_code),
         said.empty() ? "" : ": ", said);
  }
  say_once(said, told);
}

}  // namespace

PreparedJob prepare_job(const JobSource& source, const launch::Tools& tools) {
  const ConfigFile file = ConfigFile::load(source.file, source.overrides);
  PreparedJob prepared;
  prepared.job = launch::parse_stages(file);
  const fs::path here = fs::current_path();
  const fs::path run = source.run_directory.empty() ? fs::path("runs") / prepared.job.name
                                                    : fs::path(source.run_directory);
  SubmitRequest& request = prepared.request;
  request.job_toml = file.to_toml();
  request.file_name = valid_utf8(source.file);
  request.working_directory = plain_path(here, "the working directory");
  request.run_directory = plain_path(fs::weakly_canonical(here / run), "the run directory");
  std::set<std::string> told;
  for (const launch::Stage& stage : prepared.job.stages) {
    if (!prepared.job.staged) {
      check(tools, source, "", request.run_directory, told);
    } else {
      check(tools, source, stage.name, (fs::path(request.run_directory) / stage.name).string(),
            told);
    }
  }
  return prepared;
}

}  // namespace talaria::coordinator
