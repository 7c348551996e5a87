// SPDX-License-Identifier: Apache-2.0
// The JSON of spec.json, exit.json and rank-NNNNN.exit.json. Reading takes any bytes: what is
// missing, of another type or out of its range throws an Error that names the member and never
// shows its value.
#include <cmath>
#include <limits>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "launch/attempt/attempt.h"

namespace talaria::launch {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMostPid = std::int64_t{1} << 22;
constexpr std::int64_t kMostAttempt = 1'000'000;
constexpr std::int64_t kMostWorld = 1'000'000;
constexpr double kMostSeconds = 1e12;
constexpr Outcome kOutcomes[] = {Outcome::kDone, Outcome::kStopped, Outcome::kFailed,
                                 Outcome::kInvalid};

// A member of an object that must be there.
class Reader {
 public:
  Reader(const json::value& value, const char* what) : what_(what) {
    if (!value.is_object()) fail("{}: not a JSON object", what_);
    object_ = &value.get_object();
  }

  const json::value& at(const char* key) const {
    const json::value* value = object_->if_contains(key);
    if (value == nullptr) refuse(key, "missing");
    return *value;
  }

  std::string text(const char* key) const { return text(key, at(key)); }

  std::string text(const char* key, const json::value& value) const {
    if (!value.is_string()) refuse(key, "not a string");
    std::string result(value.get_string());
    if (result.find('\0') != std::string::npos) refuse(key, "holds a zero byte");
    return result;
  }

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    return integer(key, at(key), low, high);
  }

  std::int64_t integer(const char* key, const json::value& value, std::int64_t low,
                       std::int64_t high) const {
    if (!value.is_int64()) refuse(key, "not an integer");
    if (value.get_int64() < low || value.get_int64() > high) refuse(key, "out of range");
    return value.get_int64();
  }

  int small(const char* key, std::int64_t low, std::int64_t high) const {
    return static_cast<int>(integer(key, low, high));
  }

  double seconds(const char* key) const {
    json::error_code error;
    const double value = at(key).to_number<double>(error);
    if (error || !(value >= 0.0 && value <= kMostSeconds)) refuse(key, "not a time in seconds");
    return value;
  }

  bool boolean(const char* key) const {
    if (!at(key).is_bool()) refuse(key, "not true or false");
    return at(key).get_bool();
  }

  const json::array& array(const char* key, std::size_t most) const {
    if (!at(key).is_array()) refuse(key, "not an array");
    if (at(key).get_array().size() > most) refuse(key, "too long");
    return at(key).get_array();
  }

  std::vector<std::string> texts(const char* key, std::size_t most) const {
    std::vector<std::string> list;
    for (const json::value& value : array(key, most)) list.push_back(text(key, value));
    return list;
  }

  [[noreturn]] void refuse(const char* key, const char* why) const {
    fail("{}: {}: {}", what_, key, why);
  }

 private:
  const char* what_;
  const json::object* object_ = nullptr;
};

json::value parse_text(const std::string& text, const char* what) {
  json::parse_options options;
  options.max_depth = 8;
  options.allow_invalid_utf8 = true;  // a path is bytes
  json::error_code error;
  json::value value = json::parse(text, error, json::storage_ptr(), options);
  if (error) fail("{}: not JSON: {}", what, error.message());
  return value;
}

json::array to_array(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

json::object to_object(const RankExit& exit) {
  json::object object;
  object["rank"] = exit.rank;
  object["node"] = exit.node;
  object["pid"] = exit.pid;
  object["exit_code"] = exit.exit_code;
  object["signal"] = exit.signal;
  object["out_of_memory"] = exit.out_of_memory;
  object["orphaned"] = exit.orphaned;
  object["started"] = exit.started;
  object["ended"] = exit.ended;
  object["phase"] = exit.phase;
  object["step"] = exit.step;
  return object;
}

RankExit from_value(const json::value& value) {
  const Reader reader(value, "a rank's exit record");
  RankExit exit;
  exit.rank = reader.small("rank", 0, kMostWorld);
  exit.node = reader.text("node");
  exit.pid = reader.small("pid", 0, kMostPid);
  exit.exit_code = reader.small("exit_code", 0, 255);
  exit.signal = reader.small("signal", 0, 64);
  exit.out_of_memory = reader.boolean("out_of_memory");
  exit.orphaned = reader.boolean("orphaned");
  exit.started = reader.seconds("started");
  exit.ended = reader.seconds("ended");
  exit.phase = reader.text("phase");
  exit.step = reader.integer("step", 0, std::numeric_limits<std::int64_t>::max());
  return exit;
}

std::string line(const json::object& object) { return json::serialize(object) + "\n"; }

void check_spec(const AttemptSpec& spec, const Reader& reader) {
  if (!is_attempt_id(spec.attempt_id)) reader.refuse("attempt_id", "not of the form [a-z0-9-]+");
  if (!spec.run_directory.starts_with('/')) reader.refuse("run_directory", "not absolute");
  if (!spec.working_directory.starts_with('/')) reader.refuse("working_directory", "not absolute");
  if (spec.argv.empty() || spec.argv[0].empty()) reader.refuse("argv", "empty");
  for (const auto& [name, value] : spec.environment) {
    if (name.empty() || name.find('=') != std::string::npos) {
      reader.refuse("environment", "not the name of a variable");
    }
  }
}

}  // namespace

bool is_attempt_id(const std::string& id) {
  return !id.empty() && id.size() <= 100 &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return "done";
    case Outcome::kStopped:
      return "stopped";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kInvalid:
      return "invalid";
  }
  TALARIA_CHECK(false, "outcome {}", static_cast<int>(outcome));
  return "";
}

std::string to_json(const AttemptSpec& spec) {
  json::object object;
  object["attempt_id"] = spec.attempt_id;
  object["attempt"] = spec.attempt;
  object["ranks"] = spec.ranks;
  object["nodes"] = spec.nodes;
  object["run_directory"] = spec.run_directory;
  object["working_directory"] = spec.working_directory;
  object["job_toml"] = spec.job_toml;
  object["secret"] = spec.secret;
  object["channel"] = spec.channel;
  object["argv"] = to_array(spec.argv);
  json::array environment;
  for (const auto& [name, value] : spec.environment) {
    environment.push_back(json::array{name, value});
  }
  object["environment"] = std::move(environment);
  object["memory_limit"] = spec.memory_limit;
  object["stopped_seconds"] = spec.stopped_seconds;
  object["stop_grace_seconds"] = spec.stop_grace_seconds;
  return line(object);
}

AttemptSpec parse_spec(const std::string& text) {
  const json::value value = parse_text(text, "the spec");
  const Reader reader(value, "the spec");
  AttemptSpec spec;
  spec.attempt_id = reader.text("attempt_id");
  spec.attempt = reader.small("attempt", 1, kMostAttempt);
  spec.ranks = reader.small("ranks", 1, kMostWorld);
  spec.nodes = reader.small("nodes", 1, kMostWorld);
  spec.run_directory = reader.text("run_directory");
  spec.working_directory = reader.text("working_directory");
  spec.job_toml = reader.text("job_toml");
  spec.secret = reader.text("secret");
  spec.channel = reader.text("channel");
  spec.argv = reader.texts("argv", 100'000);
  for (const json::value& pair : reader.array("environment", 10'000)) {
    if (!pair.is_array() || pair.get_array().size() != 2) {
      reader.refuse("environment", "not an array of pairs");
    }
    spec.environment.emplace_back(reader.text("environment", pair.get_array()[0]),
                                  reader.text("environment", pair.get_array()[1]));
  }
  spec.memory_limit = reader.integer("memory_limit", 0, std::numeric_limits<std::int64_t>::max());
  spec.stopped_seconds = reader.seconds("stopped_seconds");
  spec.stop_grace_seconds = reader.seconds("stop_grace_seconds");
  check_spec(spec, reader);
  return spec;
}

std::string to_json(const ExitReport& report) {
  json::object object;
  object["attempt_id"] = report.attempt_id;
  object["attempt"] = report.attempt;
  object["outcome"] = outcome_name(report.outcome);
  object["exit_code"] = report.exit_code;
  object["started"] = report.started;
  object["failed"] = report.failed;
  object["ended"] = report.ended;
  object["reason"] = report.reason;
  object["first"] = report.first ? json::value(to_object(*report.first)) : json::value();
  object["last_lines"] = to_array(report.last_lines);
  json::array ranks;
  for (const RankExit& exit : report.ranks) {
    if (ranks.size() < kMostRanks) ranks.push_back(to_object(exit));
  }
  object["ranks"] = std::move(ranks);
  object["survivors"] = json::array(report.survivors.begin(), report.survivors.end());
  return line(object);
}

ExitReport parse_exit(const std::string& text) {
  const json::value value = parse_text(text, "exit.json");
  const Reader reader(value, "exit.json");
  ExitReport report;
  report.attempt_id = reader.text("attempt_id");
  report.attempt = reader.small("attempt", 1, kMostAttempt);
  const std::string outcome = reader.text("outcome");
  bool known = false;
  for (const Outcome candidate : kOutcomes) {
    if (outcome != outcome_name(candidate)) continue;
    report.outcome = candidate;
    known = true;
  }
  if (!known) reader.refuse("outcome", "not a known word");
  report.exit_code = reader.small("exit_code", 0, 255);
  report.started = reader.seconds("started");
  report.failed = reader.seconds("failed");
  report.ended = reader.seconds("ended");
  report.reason = reader.text("reason");
  if (!reader.at("first").is_null()) report.first = from_value(reader.at("first"));
  report.last_lines = reader.texts("last_lines", 20);
  for (const json::value& rank : reader.array("ranks", kMostRanks)) {
    report.ranks.push_back(from_value(rank));
  }
  for (const json::value& pid : reader.array("survivors", 100'000)) {
    report.survivors.push_back(static_cast<pid_t>(reader.integer("survivors", pid, 1, kMostPid)));
  }
  return report;
}

std::string to_json(const RankExit& exit) { return line(to_object(exit)); }

RankExit parse_rank_exit(const std::string& text) {
  return from_value(parse_text(text, "a rank's exit record"));
}

}  // namespace talaria::launch
