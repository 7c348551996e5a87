// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/gates.h"

#include <algorithm>

#include "coordinator/supervisor/run_folder.h"
#include "launch/gate.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

std::vector<launch::GateStage> gate_stages(const JobRow& job) {
  std::vector<launch::GateStage> stages;
  for (const StageRow& stage : job.stages) stages.push_back({stage.name, stage.kind});
  return stages;
}

Result<launch::Gate> gate_of(const std::string& text, const JobRow& job) {
  return launch::parse_gate(text, gate_stages(job));
}

// As people know it: below the folder that the job was submitted from.
std::string shown(const fs::path& path, const JobRow& job) {
  const fs::path below = path.lexically_relative(job.working_directory);
  return below.empty() || *below.begin() == ".." ? path.string() : below.string();
}

// Of one gate.
std::string fault_of(const std::string& text, const JobRow& job) {
  const Result<launch::Gate> parsed = gate_of(text, job);
  // Where another version of this program has submitted the job.
  if (!parsed) return fmt::format("gate {} cannot be judged, {}", text, parsed.error());
  const launch::Gate& gate = parsed.value();
  const auto stage = std::find_if(job.stages.begin(), job.stages.end(),
                                  [&](const StageRow& row) { return row.name == gate.stage; });
  const RunFolder folder(stage->run_directory, identity_of(job.uid, job.gid));
  const std::string file = shown(folder.path() / launch::kArtifactName, job);
  try {
    const std::optional<launch::Artifact> artifact = folder.artifact();
    if (!artifact) {
      return fmt::format(
          "gate {} cannot be judged: {} is missing; run the file again, stage {} "
          "then writes it",
          text, file, gate.stage);
    }
    const std::string fault = launch::gate_fault(gate, artifact->metrics);
    if (fault.empty()) return "";
    return fmt::format(
        "{} ({}); train {} longer or change the gate, then run the file again "
        "(talaria retry judges the same file once more)",
        fault, file, gate.stage);
  } catch (const Error& error) {
    return fmt::format("gate {} cannot be judged: {}: {}; remove it and run the file again", text,
                       file, error.what());
  }
}

// A file that is damaged says nothing here; a gate on it complains.
std::optional<launch::Artifact> artifact_of(const RunFolder& folder) {
  try {
    return folder.artifact();
  } catch (const Error&) {
    return std::nullopt;
  }
}

GateView look_at(const std::string& text, const JobView& view) {
  GateView seen;
  seen.gate = text;
  const Result<launch::Gate> parsed = gate_of(text, view.job);
  if (!parsed) return seen;
  const launch::Gate& gate = parsed.value();
  for (const StageView& stage : view.stages) {
    if (stage.row.name != gate.stage || !stage.artifact) continue;
    const auto found = stage.artifact->metrics.find(gate.metric);
    if (found == stage.artifact->metrics.end()) continue;
    seen.value = found->second;
    seen.holds = launch::holds(gate, found->second);
  }
  return seen;
}

}  // namespace

std::string judge_gates(const JobRow& job, const StageRow& stage) {
  for (const std::string& gate : stage.gates) {
    std::string fault = fault_of(gate, job);
    if (!fault.empty()) return fault;
  }
  return "";
}

void add_graph(JobView& view) {
  const Identity user = identity_of(view.job.uid, view.job.gid);
  for (StageView& stage : view.stages) {
    stage.artifact = artifact_of(RunFolder(stage.row.run_directory, user));
  }
  for (StageView& stage : view.stages) {
    for (const std::string& gate : stage.row.gates) stage.gates.push_back(look_at(gate, view));
  }
}

}  // namespace talaria::coordinator
