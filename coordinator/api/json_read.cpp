// SPDX-License-Identifier: Apache-2.0
// The reading half of the API's JSON: nothing is believed before it was looked at.
#include <algorithm>
#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/text.h"
#include "coordinator/api/json.h"
#include "launch/artifact_json.h"

namespace talaria::coordinator {
namespace {

namespace json = boost::json;

// An object that is read key by key; a wrong type is an Error that names the key.
class Reader {
 public:
  explicit Reader(const json::value& value, const char* what) {
    if (!value.is_object()) fail("{}: not a JSON object", what);
    object_ = &value.get_object();
  }

  // Absent or null: the value that means nothing.
  double real(const char* key, double absent = 0.0) const {
    const json::value* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_number()) wrong(key, "a number");
    return value->to_number<double>();
  }
  template <class Int = std::int64_t>
  Int integer(const char* key, Int absent = 0) const {
    const json::value* value = find(key);
    if (value == nullptr) return absent;
    json::error_code error;
    const Int found = value->to_number<Int>(error);
    if (error) wrong(key, "an integer in its range");
    return found;
  }
  bool boolean(const char* key) const {
    const json::value* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_bool()) wrong(key, "true or false");
    return value->get_bool();
  }
  std::string string(const char* key) const {
    const json::value* value = find(key);
    if (value == nullptr) return "";
    if (!value->is_string()) wrong(key, "a string");
    return std::string(value->get_string());
  }
  std::string required_string(const char* key) const {
    if (find(key) == nullptr) fail("{}: missing", key);
    std::string text = string(key);
    if (text.find('\0') != std::string::npos) wrong(key, "a string without NUL");
    return text;
  }
  std::vector<std::string> strings(const char* key) const {
    std::vector<std::string> all;
    for (const json::value& value : array(key)) {
      if (!value.is_string()) wrong(key, "an array of strings");
      all.emplace_back(value.get_string());
    }
    return all;
  }
  const json::array& array(const char* key) const {
    static const json::array nothing;
    const json::value* value = find(key);
    if (value == nullptr) return nothing;
    if (!value->is_array()) wrong(key, "an array");
    return value->get_array();
  }
  const json::value* find(const char* key) const {
    const json::value* value = object_->if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  void refuse_others(const std::vector<std::string>& known) const {
    for (const auto& [key, value] : *object_) {
      if (std::find(known.begin(), known.end(), std::string(key)) != known.end()) continue;
      fail("{}: unknown key; allowed: {}", in_quotes(std::string_view(key.data(), key.size())),
           join_or(known));
    }
  }

 private:
  [[noreturn]] static void wrong(const char* key, const char* allowed) {
    fail("{}: not {}", key, allowed);
  }
  const json::object* object_;
};

json::value parse(const std::string& text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) fail("no valid JSON: {}", error.message());
  return value;
}

AttemptRow read_attempt(const json::value& value, const StageKey& stage) {
  const Reader in(value, "attempt");
  AttemptRow row;
  row.stage = stage;
  row.attempt = in.integer<int>("attempt");
  row.attempt_id = in.string("attempt_id");
  row.state = parse_attempt_state(in.string("state"));
  row.planned = in.real("planned");
  row.ended = in.real("ended");
  row.outcome = in.string("outcome");
  row.exit_code = in.integer<int>("exit_code");
  row.reason = in.string("reason");
  return row;
}

ProgressView read_progress(const json::value& value) {
  const Reader in(value, "progress");
  ProgressView progress;
  progress.step = in.integer("step");
  progress.steps = in.integer("steps");
  progress.loss = in.real("loss", std::nan(""));
  if (in.find("validation_loss") != nullptr) progress.validation_loss = in.real("validation_loss");
  progress.tokens_per_second = in.real("tokens_per_second");
  progress.mfu = in.real("mfu");
  progress.checkpoint_step = in.integer("checkpoint_step", std::int64_t{-1});
  progress.seconds_left = in.real("seconds_left");
  progress.ranks_connected = in.integer<int>("ranks_connected");
  return progress;
}

RankView read_rank(const json::value& value) {
  const Reader in(value, "report");
  RankView rank;
  rank.rank = in.integer<int>("rank");
  rank.host = in.string("host");
  rank.pid = in.integer("pid");
  rank.connected = in.boolean("connected");
  rank.silent_seconds = in.real("silent_seconds");
  rank.phase = in.string("phase");
  rank.phase_seconds = in.real("phase_seconds");
  rank.wait = in.string("wait");
  rank.step = in.integer("step");
  rank.rss_bytes = in.integer("rss_bytes");
  return rank;
}

GateView read_gate(const json::value& value) {
  const Reader in(value, "gate");
  GateView gate;
  gate.gate = in.string("gate");
  if (in.find("value") != nullptr) gate.value = in.real("value");
  if (in.find("holds") != nullptr) gate.holds = in.boolean("holds");
  return gate;
}

launch::Artifact read_artifact(const json::value& value) {
  try {
    return launch::parse_artifact(value);
  } catch (const std::exception& error) {
    fail("artifact: {}", error.what());
  }
}

StageView read_stage(const json::value& value, std::int64_t job) {
  const Reader in(value, "stage");
  StageView stage;
  StageRow& row = stage.row;
  row.key = {job, in.integer<int>("stage")};
  row.name = in.string("name");
  row.after = in.strings("after");
  row.kind = in.string("kind");
  row.state = parse_stage_state(in.string("state"));
  row.reason = in.string("reason");
  row.since = in.real("since");
  row.not_before = in.real("not_before");
  row.failures = in.integer<int>("failures");
  row.restarts = in.integer<int>("restarts");
  row.max_restarts = in.integer<int>("max_restarts");
  row.ranks = in.integer<int>("ranks");
  row.run_directory = in.string("run_directory");
  if (const json::value* progress = in.find("progress")) stage.progress = read_progress(*progress);
  if (const json::value* newest = in.find("attempt")) row.attempt = read_attempt(*newest, row.key);
  for (const json::value& each : in.array("gates")) {
    stage.gates.push_back(read_gate(each));
    row.gates.push_back(stage.gates.back().gate);
  }
  if (const json::value* artifact = in.find("artifact")) stage.artifact = read_artifact(*artifact);
  for (const json::value& each : in.array("attempts")) {
    stage.attempts.push_back(read_attempt(each, row.key));
  }
  for (const json::value& each : in.array("reports")) stage.ranks.push_back(read_rank(each));
  return stage;
}

TransitionRow read_transition(const json::value& value) {
  const Reader in(value, "transition");
  TransitionRow row;
  row.time = in.real("time");
  row.stage = in.integer<int>("stage", -1);
  row.attempt = in.integer<int>("attempt");
  row.from = in.string("from");
  row.to = in.string("to");
  row.reason = in.string("reason");
  return row;
}

JobView read_job(const json::value& value) {
  const Reader in(value, "job");
  JobView view;
  JobRow& job = view.job;
  job.id = in.integer("id");
  job.name = in.string("name");
  job.user = in.string("user");
  job.uid = in.integer<uid_t>("uid");
  job.gid = in.integer<gid_t>("gid");
  job.wish = parse_wish(in.string("wish"));
  job.submitted = in.real("submitted");
  job.run_directory = in.string("run_directory");
  job.working_directory = in.string("working_directory");
  view.notice = in.string("notice");
  for (const json::value& each : in.array("stages")) {
    view.stages.push_back(read_stage(each, job.id));
    job.stages.push_back(view.stages.back().row);
  }
  for (const json::value& each : in.array("transitions")) {
    view.transitions.push_back(read_transition(each));
  }
  return view;
}

}  // namespace

JobView parse_job_view(const std::string& text) { return read_job(parse(text)); }

std::vector<JobView> parse_job_views(const std::string& text) {
  const json::value value = parse(text);
  std::vector<JobView> views;
  for (const json::value& each : Reader(value, "answer").array("jobs")) {
    views.push_back(read_job(each));
  }
  return views;
}

std::int64_t parse_id(const std::string& text) {
  const json::value value = parse(text);
  return Reader(value, "answer").integer("id");
}

SubmitRequest parse_submit(const std::string& text) {
  const json::value value = parse(text);
  const Reader in(value, "request");
  in.refuse_others({"job_toml", "file_name", "run_directory", "working_directory"});
  SubmitRequest request;
  request.job_toml = in.required_string("job_toml");
  request.file_name = in.required_string("file_name");
  request.run_directory = in.required_string("run_directory");
  request.working_directory = in.required_string("working_directory");
  for (const auto& [key, path] : {std::pair("run_directory", request.run_directory),
                                  std::pair("working_directory", request.working_directory)}) {
    if (!path.starts_with('/')) fail("{}: {} is not an absolute path", key, in_quotes(path));
  }
  return request;
}

std::string parse_reason(const std::string& text) {
  if (text.empty()) return "";
  const json::value value = parse(text);
  const Reader in(value, "request");
  in.refuse_others({"reason"});
  const std::string reason = in.string("reason");
  constexpr std::size_t kMost = 1000;
  if (reason.size() > kMost) fail("reason: longer than {} bytes", kMost);
  return one_line(reason);
}

std::string parse_error(const std::string& text) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return "";
  const json::value* said = value.get_object().if_contains("error");
  return said != nullptr && said->is_string() ? std::string(said->get_string()) : "";
}

Version parse_version(const std::string& text) {
  const json::value value = parse(text);
  const Reader in(value, "answer");
  return {in.string("version"), in.integer("api"), in.integer("pid"), in.string("host")};
}

}  // namespace talaria::coordinator
