// SPDX-License-Identifier: Apache-2.0
#include "worker/run_directory.h"

#include <algorithm>
#include <bit>
#include <map>
#include <sstream>
#include <vector>

#include <boost/json.hpp>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "storage/checkpoint/fence.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// Finite numbers as they are, others as strings: JSON has no infinities.
json::value number(double value) {
  if (std::isfinite(value)) return value;
  return json::string(fmt::format("{}", value));
}

double read_number(const json::value& value) {
  if (value.is_string()) return std::stod(std::string(value.as_string()));
  return value.to_number<double>();
}

fs::path attempt_folder(const fs::path& run, int attempt) {
  return run / fmt::format("attempt-{:03}", attempt);
}

template <class Number>
Number median(std::vector<Number> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

RunDirectory::RunDirectory(const fs::path& path) : path_(path) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) fail_usage("{}: cannot make the run directory: {}", path_.string(), error.message());
  lock_.emplace(path_ / "lock", path_.string(), "wait for it to end, or choose another --run-dir");
}

int RunDirectory::claim_attempt(int wanted) const {
  int attempt = wanted;
  if (attempt <= 0) {
    attempt = std::max(1, storage::read_fence(checkpoints()));
    while (fs::exists(attempt_folder(path_, attempt))) ++attempt;
  }
  storage::raise_fence(checkpoints(), attempt);
  return attempt;
}

void RunDirectory::begin_attempt(int attempt) const {
  fs::create_directories(attempt_folder(path_, attempt));
}

void RunDirectory::save_job(const std::string& toml) const {
  write_file_atomic(path_ / "job.toml", toml);
}

void RunDirectory::record(const Metric& m) const {
  json::object line;
  line["step"] = m.step;
  line["attempt"] = m.attempt;
  line["tokens"] = m.tokens;
  line["loss"] = number(m.loss);
  line["loss_bits"] = fmt::format("{:016x}", std::bit_cast<std::uint64_t>(m.loss));
  line["grad_norm"] = number(m.grad_norm);
  line["learning_rate"] = m.learning_rate;
  line["step_seconds"] = m.step_seconds;
  line["tokens_per_second"] = m.tokens_per_second;
  line["mfu"] = m.mfu;
  line["rss_bytes"] = m.rss_bytes;
  line["time"] = wall_seconds();
  if (m.validation_loss) line["validation_loss"] = number(*m.validation_loss);
  for (const auto& [name, value] : m.more) line[name] = number(value);
  append_line(path_ / "metrics.jsonl", json::serialize(line));
}

void RunDirectory::record_event(int attempt, int rank, const std::string& kind,
                                const std::string& text) const {
  json::object line;
  line["time"] = wall_seconds();
  line["attempt"] = attempt;
  line["rank"] = rank;
  line["kind"] = kind;
  line["text"] = text;
  append_line(path_ / "events.jsonl", json::serialize(line));
}

RunSummary summarise(const fs::path& run_directory) {
  const fs::path metrics = run_directory / "metrics.jsonl";
  if (!fs::exists(metrics)) {
    fail_usage("{}: no metrics.jsonl; name the directory of a run that has made a step",
               run_directory.string());
  }
  // A step that was run again appears again: the last line counts.
  std::map<std::int64_t, json::object> steps;
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    json::error_code error;
    const json::value value = json::parse(line, error);
    if (error || !value.is_object()) continue;  // a line cut short by a crash
    steps[value.at("step").to_number<std::int64_t>()] = value.as_object();
  }
  if (steps.empty()) fail_usage("{}: no finished step", metrics.string());
  RunSummary summary;
  summary.steps = steps.rbegin()->first;
  summary.first_loss = read_number(steps.begin()->second.at("loss"));
  summary.tokens = steps.rbegin()->second.at("tokens").to_number<std::int64_t>();
  std::vector<double> speeds;
  std::vector<double> mfus;
  int counted = 0;
  for (auto it = steps.rbegin(); it != steps.rend(); ++it) {
    const json::object& line = it->second;
    if (counted < 10) {
      summary.last_loss += (read_number(line.at("loss")) - summary.last_loss) / ++counted;
    }
    speeds.push_back(read_number(line.at("tokens_per_second")));
    mfus.push_back(read_number(line.at("mfu")));
    if (!summary.validation_loss && line.contains("validation_loss")) {
      summary.validation_loss = read_number(line.at("validation_loss"));
      if (line.contains("validation_bits_per_byte")) {
        summary.validation_bits_per_byte = read_number(line.at("validation_bits_per_byte"));
      }
    }
  }
  summary.tokens_per_second = median(speeds);
  summary.mfu = median(mfus);
  std::istringstream events(fs::exists(run_directory / "events.jsonl")
                                ? read_file(run_directory / "events.jsonl")
                                : std::string());
  for (std::string line; std::getline(events, line);) {
    json::error_code error;
    const json::value value = json::parse(line, error);
    if (!error && value.is_object()) summary.done = value.at("kind").as_string() == "done";
  }
  return summary;
}

}  // namespace talaria::worker
