// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/log_merge.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <queue>
#include <tuple>

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostLine = 64 * 1024;

std::optional<int> digits(std::string_view line, std::size_t at, std::size_t count) {
  int value = 0;
  const char* const begin = line.data() + at;
  const auto [end, error] = std::from_chars(begin, begin + count, value);
  if (error != std::errc() || end != begin + count || value < 0) return std::nullopt;
  return value;
}

// "rank-00003.log" -> 3.
std::optional<int> rank_of(const std::string& name) {
  if (name == "launcher.log") return kLauncherLog;
  constexpr std::string_view kBegin = "rank-";
  constexpr std::string_view kEnd = ".log";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return std::nullopt;
  const std::size_t count = name.size() - kBegin.size() - kEnd.size();
  if (count == 0 || count > 9) return std::nullopt;
  return digits(name, kBegin.size(), count);
}

}  // namespace

std::optional<double> stamp_of(std::string_view line) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd.dddZ";
  if (line.size() < kShape.size()) return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = line[i] >= '0' && line[i] <= '9';
    if (kShape[i] == 'd' ? !digit : line[i] != kShape[i]) return std::nullopt;
  }
  std::tm parts{};
  parts.tm_year = *digits(line, 0, 4) - 1900;
  parts.tm_mon = *digits(line, 5, 2) - 1;
  parts.tm_mday = *digits(line, 8, 2);
  parts.tm_hour = *digits(line, 11, 2);
  parts.tm_min = *digits(line, 14, 2);
  parts.tm_sec = *digits(line, 17, 2);
  return static_cast<double>(::timegm(&parts)) + *digits(line, 20, 3) / 1000.0;
}

LogFile::LogFile(fs::path path, int attempt, int rank)
    : path_(std::move(path)), attempt_(attempt), rank_(rank) {}

bool LogFile::fill() {
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return false;
  if (!fd) fail_errno("open", path_.string());
  struct stat info {};
  check_sys(::fstat(fd.get(), &info), "fstat", path_.string());
  if (!S_ISREG(info.st_mode)) fail("{}: not a regular file", path_.string());
  buffer_.erase(0, std::exchange(start_, 0));
  const std::size_t kept = buffer_.size();
  buffer_.resize(kept + kMostLine);
  ssize_t got = -1;
  do {
    got = ::pread(fd.get(), buffer_.data() + kept, kMostLine, offset_);
  } while (got < 0 && errno == EINTR);
  buffer_.resize(kept + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  check_sys(got, "read", path_.string());
  offset_ += got;
  return got > 0;
}

LogLine LogFile::make_line(std::string text) {
  if (text.ends_with('\r')) text.pop_back();
  // A file's own order stands, also where its clock went back.
  if (const auto stamp = stamp_of(text)) time_ = std::max(time_, *stamp);
  return {time_, attempt_, rank_, std::move(text)};
}

std::optional<LogLine> LogFile::next(bool whole) {
  while (true) {
    const std::size_t end = buffer_.find('\n', start_);
    if (end != std::string::npos) {
      std::string text = buffer_.substr(start_, end - start_);
      start_ = end + 1;
      return make_line(std::move(text));
    }
    const std::size_t rest = buffer_.size() - start_;
    if (rest < kMostLine && fill()) continue;
    const bool piece = buffer_.size() - start_ >= kMostLine;
    if (buffer_.size() == start_ || (whole && !piece)) return std::nullopt;
    std::string text = buffer_.substr(start_, kMostLine);
    start_ += text.size();
    return make_line(std::move(text));
  }
}

std::vector<LogFile> attempt_logs(const fs::path& run_directory, int attempt,
                                  std::optional<int> rank) {
  const fs::path folder = launch::attempt_folder(run_directory, attempt);
  std::vector<std::pair<int, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::optional<int> of = rank_of(at->path().filename().string());
    if (of && (!rank || *rank == *of)) found.emplace_back(*of, at->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    fail("{}: {}", folder.string(), error.message());
  }
  std::sort(found.begin(), found.end());
  std::vector<LogFile> files;
  files.reserve(found.size());
  for (const auto& [of, path] : found) files.emplace_back(path, attempt, of);
  return files;
}

void merge_logs(std::vector<LogFile> files, const std::function<void(const LogLine&)>& print) {
  using Item = std::pair<LogLine, std::size_t>;
  const auto later = [](const Item& a, const Item& b) {
    return std::tuple(a.first.time, a.second) > std::tuple(b.first.time, b.second);
  };
  std::priority_queue<Item, std::vector<Item>, decltype(later)> queue(later);
  const auto take = [&](std::size_t file) {
    if (auto line = files[file].next(false)) queue.emplace(std::move(*line), file);
  };
  for (std::size_t i = 0; i < files.size(); ++i) take(i);
  while (!queue.empty()) {
    const auto [line, file] = queue.top();
    queue.pop();
    print(line);
    take(file);
  }
}

std::string log_text(const LogLine& line) {
  std::string text = line.text;
  // A tab is no harm, but one_line() would write it out.
  for (std::size_t at = 0; (at = text.find('\t', at)) != std::string::npos;) {
    text.replace(at, 1, "    ");
  }
  const std::string who =
      line.rank == kLauncherLog ? "launcher" : fmt::format("rank {}", line.rank);
  return fmt::format("{:<8} | {}", who, one_line(text));
}

std::string log_json(const LogLine& line) {
  boost::json::object object;
  if (line.time > 0.0) object["time"] = line.time;
  object["attempt"] = line.attempt;
  if (line.rank != kLauncherLog) object["rank"] = line.rank;
  object["text"] = valid_utf8(line.text);
  return boost::json::serialize(object);
}

}  // namespace talaria::coordinator
