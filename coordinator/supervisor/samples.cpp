// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/samples.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include <boost/json.hpp>
#include <unistd.h>

#include "cluster/base/error.h"
#include "coordinator/supervisor/identity.h"
#include "launch/attempt/small_file.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* kFile = "samples.jsonl";
constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr std::size_t kMostRows = 16;

struct Line {
  std::string prompt;
  SampleAnswer answer;
};

std::optional<Line> parse_line(std::string_view text) {
  json::error_code error;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return std::nullopt;
  try {
    Line line;
    line.prompt = value.at("prompt").as_string();
    line.answer.step = value.at("step").to_number<std::int64_t>();
    line.answer.text = value.at("response").as_string();
    line.answer.stopped = value.at("stopped").as_bool();
    line.answer.score = value.at("score").to_number<double>();
    return line;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

void each_line(std::string_view text, const std::function<void(Line&& line)>& use) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return;  // it is being written
    if (std::optional<Line> line = parse_line(text.substr(0, end))) use(std::move(*line));
    text.remove_prefix(end + 1);
  }
}

std::vector<SampleView> read_samples(const fs::path& folder) {
  const UniqueFd fd = launch::open_small_file(folder, kFile);
  if (!fd) return {};
  std::string begin(kMostBytes, '\0');
  const ssize_t got = ::pread(fd.get(), begin.data(), begin.size(), 0);
  if (got < 0) return {};
  begin.resize(static_cast<std::size_t>(got));
  if (begin.size() < kMostBytes) return parse_samples(begin, begin);
  std::string end = launch::read_file_end(folder, kFile, kMostBytes);
  // Its first line may have lost its head.
  end.erase(0, end.find('\n') + 1);
  return parse_samples(begin, end);
}

}  // namespace

std::vector<SampleView> parse_samples(std::string_view begin, std::string_view end) {
  std::vector<SampleView> rows;
  const auto row_of = [&](const std::string& prompt) {
    return std::find_if(rows.begin(), rows.end(),
                        [&](const SampleView& row) { return row.prompt == prompt; });
  };
  std::optional<std::int64_t> first;
  each_line(begin, [&](Line&& line) {
    if (!first) first = line.answer.step;
    if (line.answer.step != *first || rows.size() == kMostRows) return;
    if (row_of(line.prompt) != rows.end()) return;
    rows.push_back({std::move(line.prompt), std::move(line.answer), std::nullopt});
  });
  each_line(end, [&](Line&& line) {
    const auto row = row_of(line.prompt);
    if (row != rows.end() && line.answer.step != row->before.step) row->now = line.answer;
  });
  return rows;
}

void add_samples(JobView& view) {
  const Identity user = identity_of(view.job.uid, view.job.gid);
  for (StageView& stage : view.stages) {
    if (stage.row.kind != "ppo") continue;
    const AsUser rights(user);
    try {
      stage.samples = read_samples(stage.row.run_directory);
    } catch (const Error&) {
      stage.samples.clear();
    }
  }
}

}  // namespace talaria::coordinator
