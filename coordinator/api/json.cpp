// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/json.h"

#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/text.h"
#include "coordinator/api/lineage.h"
#include "launch/artifact_json.h"

namespace talaria::coordinator {
namespace {

namespace json = boost::json;

json::string text_of(const std::string& text) { return json::string(valid_utf8(text)); }

json::value number(double value) { return std::isfinite(value) ? json::value(value) : nullptr; }

json::object attempt_object(const AttemptRow& row) {
  json::object out;
  out["attempt"] = row.attempt;
  out["attempt_id"] = text_of(row.attempt_id);
  out["state"] = name(row.state);
  out["planned"] = number(row.planned);
  out["ended"] = number(row.ended);
  out["outcome"] = text_of(row.outcome);
  out["exit_code"] = row.exit_code;
  out["reason"] = text_of(row.reason);
  return out;
}

json::object progress_object(const ProgressView& progress) {
  json::object out;
  out["step"] = progress.step;
  out["steps"] = progress.steps;
  out["loss"] = number(progress.loss);
  out["validation_loss"] =
      progress.validation_loss ? number(*progress.validation_loss) : json::value(nullptr);
  out["tokens_per_second"] = number(progress.tokens_per_second);
  out["mfu"] = number(progress.mfu);
  out["checkpoint_step"] = progress.checkpoint_step;
  out["seconds_left"] = number(progress.seconds_left);
  out["ranks_connected"] = progress.ranks_connected;
  return out;
}

json::object rank_object(const RankView& rank) {
  json::object out;
  out["rank"] = rank.rank;
  out["host"] = text_of(rank.host);
  out["pid"] = rank.pid;
  out["connected"] = rank.connected;
  out["silent_seconds"] = number(rank.silent_seconds);
  out["phase"] = text_of(rank.phase);
  out["phase_seconds"] = number(rank.phase_seconds);
  out["wait"] = text_of(rank.wait);
  out["step"] = rank.step;
  out["rss_bytes"] = rank.rss_bytes;
  return out;
}

json::array gates_array(const StageView& stage) {
  json::array gates;
  for (const GateView& gate : stage.gates) {
    json::object out;
    out["gate"] = text_of(gate.gate);
    out["value"] = gate.value ? number(*gate.value) : json::value(nullptr);
    out["holds"] = gate.holds ? json::value(*gate.holds) : json::value(nullptr);
    gates.push_back(std::move(out));
  }
  return gates;
}

// As the file, with the stages of this job that it began with.
json::value artifact_value(const launch::Artifact& artifact, const JobView& view) {
  json::value out = launch::to_json(artifact);
  json::array& start = out.at("lineage").at("start").as_array();
  for (std::size_t i = 0; i < artifact.origins.size(); ++i) {
    const std::string stage = origin_stage(view, artifact.origins[i]);
    if (!stage.empty()) start[i].as_object()["stage"] = text_of(stage);
  }
  return out;
}

json::object sample_answer_object(const SampleAnswer& answer) {
  json::object out;
  out["step"] = answer.step;
  out["answer"] = text_of(answer.text);
  out["stopped"] = answer.stopped;
  out["score"] = number(answer.score);
  return out;
}

json::array samples_array(const StageView& stage) {
  json::array samples;
  samples.reserve(stage.samples.size());
  for (const SampleView& sample : stage.samples) {
    json::object out;
    out["prompt"] = text_of(sample.prompt);
    out["before"] = sample_answer_object(sample.before);
    out["now"] = sample.now ? json::value(sample_answer_object(*sample.now)) : nullptr;
    samples.push_back(std::move(out));
  }
  return samples;
}

json::object stage_object(const StageView& stage, const JobView& view, Detail detail) {
  const StageRow& row = stage.row;
  json::object out;
  out["stage"] = row.key.stage;
  out["name"] = text_of(row.name);
  json::array after;
  for (const std::string& each : row.after) after.push_back(text_of(each));
  out["after"] = std::move(after);
  out["kind"] = text_of(row.kind);
  out["state"] = name(row.state);
  out["reason"] = text_of(row.reason);
  out["since"] = number(row.since);
  out["not_before"] = number(row.not_before);
  out["failures"] = row.failures;
  out["restarts"] = row.restarts;
  out["max_restarts"] = row.max_restarts;
  out["ranks"] = row.ranks;
  out["run_directory"] = text_of(row.run_directory);
  out["progress"] = progress_object(stage.progress);
  if (row.attempt) out["attempt"] = attempt_object(*row.attempt);
  if (detail == Detail::kList) return out;
  out["gates"] = gates_array(stage);
  if (stage.artifact) out["artifact"] = artifact_value(*stage.artifact, view);
  if (!stage.samples.empty()) out["samples"] = samples_array(stage);
  json::array attempts;
  for (const AttemptRow& each : stage.attempts) attempts.push_back(attempt_object(each));
  out["attempts"] = std::move(attempts);
  json::array reports;
  for (const RankView& each : stage.ranks) reports.push_back(rank_object(each));
  out["reports"] = std::move(reports);
  return out;
}

json::object transition_object(const TransitionRow& row) {
  json::object out;
  out["time"] = number(row.time);
  if (row.stage >= 0) out["stage"] = row.stage;
  if (row.attempt > 0) out["attempt"] = row.attempt;
  out["from"] = text_of(row.from);
  out["to"] = text_of(row.to);
  out["reason"] = text_of(row.reason);
  return out;
}

json::object job_object(const JobView& view, Detail detail) {
  const JobRow& job = view.job;
  json::object out;
  out["id"] = job.id;
  out["name"] = text_of(job.name);
  out["user"] = text_of(job.user);
  out["uid"] = job.uid;
  out["gid"] = job.gid;
  std::vector<StageState> states;
  for (const StageView& stage : view.stages) states.push_back(stage.row.state);
  out["state"] = name(job_state(states));
  out["wish"] = name(job.wish);
  out["submitted"] = number(job.submitted);
  out["run_directory"] = text_of(job.run_directory);
  out["working_directory"] = text_of(job.working_directory);
  json::array stages;
  for (const StageView& stage : view.stages) stages.push_back(stage_object(stage, view, detail));
  out["stages"] = std::move(stages);
  out["notice"] = text_of(view.notice);
  if (detail == Detail::kList) return out;
  json::array transitions;
  for (const TransitionRow& each : view.transitions) transitions.push_back(transition_object(each));
  out["transitions"] = std::move(transitions);
  return out;
}

}  // namespace

std::string to_json(const JobView& view, Detail detail) {
  return json::serialize(job_object(view, detail));
}

std::string to_json(const std::vector<JobView>& views) {
  json::array jobs;
  jobs.reserve(views.size());
  for (const JobView& view : views) jobs.push_back(job_object(view, Detail::kList));
  json::object out;
  out["jobs"] = std::move(jobs);
  return json::serialize(out);
}

std::string to_json(const SubmitRequest& request) {
  json::object out;
  out["job_toml"] = request.job_toml;
  out["file_name"] = request.file_name;
  out["run_directory"] = request.run_directory;
  out["working_directory"] = request.working_directory;
  return json::serialize(out);
}

std::string reason_json(const std::string& reason) {
  return json::serialize(json::object{{"reason", text_of(reason)}});
}

std::string error_json(const std::string& text) {
  return json::serialize(json::object{{"error", text_of(one_line(text))}});
}

std::string id_json(std::int64_t job) { return json::serialize(json::object{{"id", job}}); }

std::string to_json(const Version& version) {
  json::object out;
  out["version"] = text_of(version.version);
  out["api"] = version.api;
  out["pid"] = version.pid;
  out["host"] = text_of(version.host);
  return json::serialize(out);
}

}  // namespace talaria::coordinator
