// SPDX-License-Identifier: Apache-2.0
// [[stage]]: each entry is judged by itself, then read as the job file that it makes of the
// top-level tables, so one parser serves files with and without stages.
#include "launch/stages.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/job_keys.h"
#include "launch/job_reader.h"

namespace talaria::launch {

namespace {

constexpr const char* kArray = "stage";
constexpr std::size_t kMostStages = 64;

// The tables of a job file.
std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const JobKey& key : job_keys()) {
    if (names.empty() || names.back() != key.table()) names.push_back(key.table());
  }
  return names;
}

// What stands beside the stages' folders in a run directory.
bool is_taken(const std::string& name) {
  static constexpr std::array<std::string_view, 7> kTaken = {
      "coordinator", "checkpoints",  "lock",         "launch.lock",
      "job.toml",    "events.jsonl", "metrics.jsonl"};
  return std::find(kTaken.begin(), kTaken.end(), name) != kTaken.end() ||
         name.starts_with("attempt-");
}

std::string read_name(ConfigTable& entry, const std::vector<Stage>& above) {
  const std::optional<std::string> name = entry.string("name");
  if (!name) entry.refuse("name", fmt::format("missing; {}", kRunNameRule));
  if (!is_run_name(*name)) {
    entry.refuse("name", fmt::format("found the string {}; {}", in_quotes(*name), kRunNameRule));
  }
  if (is_taken(*name)) {
    entry.refuse("name", fmt::format("found the string {}, which the run directory needs for "
                                     "itself; allowed: another name",
                                     in_quotes(*name)));
  }
  for (const Stage& stage : above) {
    if (stage.name != *name) continue;
    entry.refuse("name", fmt::format("found the string {}, which names a stage above; allowed: a "
                                     "name of its own",
                                     in_quotes(*name)));
  }
  return *name;
}

std::vector<std::string> read_after(ConfigTable& entry, const std::string& name,
                                    const std::vector<Stage>& above) {
  std::optional<std::vector<std::string>> after = entry.strings("after", true);
  if (!after) {
    return above.empty() ? std::vector<std::string>{} : std::vector<std::string>{above.back().name};
  }
  std::vector<std::string> allowed;
  std::vector<std::string> words;
  for (const Stage& stage : above) {
    allowed.push_back(stage.name);
    words.push_back(in_quotes(stage.name));
  }
  const std::string names = words.empty() ? "none, this is the first stage"
                                          : fmt::format("stages above, {}", join_or(words));
  std::set<std::string> seen;
  for (const std::string& wanted : *after) {
    std::string why;
    if (wanted == name) {
      why = ", the stage itself";
    } else if (std::find(allowed.begin(), allowed.end(), wanted) == allowed.end()) {
      const std::string nearest = nearest_word(wanted, allowed);
      why =
          ", no stage above" + (nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest));
    } else if (!seen.insert(wanted).second) {
      why = ", twice";
    }
    if (why.empty()) continue;
    entry.refuse("after",
                 fmt::format("found the string {}{}; allowed: {}", in_quotes(wanted), why, names));
  }
  return std::move(*after);
}

// What is the file's or the stage's own matter, and cannot stand in a stage's table.
void refuse_foreign(ConfigTable& entry) {
  std::optional<ConfigTable> job = entry.table("job");
  if (!job) return;
  if (job->has("name")) {
    job->refuse("name", "found in a stage; allowed: at the top level, for all stages");
  }
  if (job->has("kind")) {
    job->refuse("kind", "found in a stage's [job]; allowed: kind beside the stage's name");
  }
}

// The stages that are done before one with this `after`.
std::set<std::string> stages_before(const std::vector<std::string>& after,
                                    const std::vector<Stage>& above) {
  std::set<std::string> before(after.begin(), after.end());
  // `above` is in order: one pass from the last to the first follows every path.
  for (auto stage = above.rbegin(); stage != above.rend(); ++stage) {
    if (before.contains(stage->name)) before.insert(stage->after.begin(), stage->after.end());
  }
  return before;
}

std::vector<Gate> read_gates(ConfigTable& entry, const std::set<std::string>& before,
                             const std::vector<Stage>& above) {
  std::vector<GateStage> known;
  for (const Stage& stage : above) {
    if (before.contains(stage.name)) known.push_back({stage.name, stage.job.job.kind});
  }
  std::vector<Gate> gates;
  for (const std::string& text : entry.strings("gate", true).value_or(std::vector<std::string>{})) {
    Result<Gate> gate = parse_gate(text, known);
    if (!gate) {
      entry.refuse("gate", fmt::format("found the string {}, {}", in_quotes(text), gate.error()));
    }
    gates.push_back(std::move(gate.value()));
  }
  return gates;
}

// Refuses weights of a stage that is not done before.
void check_starts(const ConfigFile& file, const Job& job, const std::set<std::string>& before) {
  ConfigTable start = file.root().table_or_empty("start");
  const std::pair<const char*, const std::string&> keys[] = {{"weights", job.start.weights},
                                                             {"reference", job.start.reference},
                                                             {"reward", job.start.reward},
                                                             {"value", job.start.value}};
  for (const auto& [key, value] : keys) {
    const std::string name = started_stage(value);
    if (name.empty() || before.contains(name)) continue;
    std::vector<std::string> words;
    words.reserve(before.size());
    for (const std::string& each : before) words.push_back(in_quotes("stage:" + each));
    start.refuse(key, fmt::format("found the string {}, no stage that is done before; allowed: a "
                                  "path{}{}",
                                  in_quotes(value), words.empty() ? "" : ", ", join_or(words)));
  }
}

Overlay overlay_of(std::size_t index) {
  return {.array = kArray, .index = index, .tables = table_names(), .keys = {{"kind", "job.kind"}}};
}

Job parse_stage_job(const ConfigFile& file, const std::string& name) {
  try {
    return parse_job(file);
  } catch (const UsageError& error) {
    fail_usage("{} (in stage {})", error.what(), name);
  }
}

}  // namespace

StagedJob parse_stages(const ConfigFile& file) {
  StagedJob staged;
  ConfigTable root = file.root();
  if (!root.has(kArray)) {
    Job job = parse_job(file);
    check_starts(file, job, {});
    staged.name = job.job.name;
    staged.stages.push_back({job.job.name, {}, {}, std::move(job), file.to_toml()});
    return staged;
  }
  staged.staged = true;
  std::vector<ConfigTable> entries = *root.tables(kArray);
  if (entries.empty() || entries.size() > kMostStages) {
    root.refuse(kArray, fmt::format("found {} stages; allowed: 1 to {}, each a [[stage]]",
                                    entries.size(), kMostStages));
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    ConfigTable& entry = entries[i];
    Stage stage;
    stage.name = read_name(entry, staged.stages);
    refuse_foreign(entry);
    stage.after = read_after(entry, stage.name, staged.stages);
    const std::set<std::string> before = stages_before(stage.after, staged.stages);
    stage.gates = read_gates(entry, before, staged.stages);
    for (const std::string& table : table_names()) entry.table(table);
    entry.string("kind");
    entry.finish();
    const ConfigFile own = file.overlaid(overlay_of(i));
    stage.job = parse_stage_job(own, stage.name);
    check_starts(own, stage.job, before);
    stage.toml = own.to_toml();
    staged.stages.push_back(std::move(stage));
  }
  staged.name = staged.stages.front().job.job.name;
  return staged;
}

ConfigFile stage_file(ConfigFile file, const std::string& stage) {
  if (stage.empty()) return file;
  const StagedJob job = parse_stages(file);
  if (!job.staged) {
    fail_usage("--stage {}: the job file has no [[stage]]; allowed: no --stage", in_quotes(stage));
  }
  std::vector<std::string> names;
  for (const Stage& each : job.stages) names.push_back(each.name);
  const auto at = std::find(names.begin(), names.end(), stage);
  if (at == names.end()) {
    fail_usage("--stage {}: no such stage; allowed: {}", in_quotes(stage), join_or(names));
  }
  return file.overlaid(overlay_of(static_cast<std::size_t>(at - names.begin())));
}

}  // namespace talaria::launch
