// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/run_folder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/log.h"
#include "launch/attempt/small_file.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// N of "attempt-N", or 0.
int attempt_number(const std::string& name) {
  constexpr std::string_view kPrefix = "attempt-";
  if (!name.starts_with(kPrefix)) return 0;
  int number = 0;
  const char* const end = name.data() + name.size();
  const auto [last, error] = std::from_chars(name.data() + kPrefix.size(), end, number);
  return error == std::errc() && last == end ? number : 0;
}

template <class Visit>
void each_entry(const fs::path& folder, Visit visit) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    visit(at->path());
  }
}

// The last `most` bytes of a regular file; "" without one.
std::string tail(const fs::path& path, off_t most) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  std::string text(static_cast<std::size_t>(std::min(info.st_size, most)), '\0');
  const ssize_t got =
      ::pread(fd.get(), text.data(), text.size(), info.st_size - static_cast<off_t>(text.size()));
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

double number(const json::object& line, const char* key) {
  const json::value* const value = line.if_contains(key);
  if (value == nullptr || !value->is_number()) return std::nan("");
  return value->to_number<double>();
}

json::object as_json(const RunEvent& event) {
  json::object line;
  line["time"] = event.time;
  line["attempt"] = event.attempt;
  line["rank"] = event.rank;
  line["kind"] = event.kind;
  line["text"] = event.text;
  if (!event.phase.empty()) line["phase"] = event.phase;
  if (event.step >= 0) line["step"] = event.step;
  if (event.signal != 0) line["signal"] = event.signal;
  if (event.detected_seconds) line["detected_seconds"] = *event.detected_seconds;
  if (event.seconds_to_next_step) line["seconds_to_next_step"] = *event.seconds_to_next_step;
  return line;
}

// Writes without following a link; throws Error.
void write_own(const fs::path& path, int flags, unsigned mode, const std::string& text) {
  const UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, mode);
  write_all(fd.get(), std::as_bytes(std::span(text)), path);
}

// The file holds either its old or its new content for whoever reads it.
void replace_own(const fs::path& path, const std::string& text) {
  const fs::path temporary = path.string() + ".new";
  write_own(temporary, O_TRUNC, 0644, text);
  fs::rename(temporary, path);
}

template <class Write>
void try_to(const char* what, Write write) {
  try {
    write();
  } catch (const std::exception& error) {
    log_warning("{}: {}", what, error.what());
  }
}

}  // namespace

RunFolder::RunFolder(fs::path path, Identity user)
    : path_(std::move(path)), user_(std::move(user)) {}

int RunFolder::newest_attempt() const {
  const AsUser rights(user_);
  int newest = 0;
  each_entry(path_, [&](const fs::path& entry) {
    newest = std::max(newest, attempt_number(entry.filename().string()));
  });
  return newest;
}

bool RunFolder::checkpoint_since(double time) const {
  const AsUser rights(user_);
  bool found = false;
  each_entry(path_ / "checkpoints", [&](const fs::path& entry) {
    struct stat info {};
    if (!entry.filename().string().starts_with("step-")) return;
    if (::lstat((entry / "manifest.json").c_str(), &info) != 0) return;
    const double written =
        static_cast<double>(info.st_mtim.tv_sec) + 1e-9 * static_cast<double>(info.st_mtim.tv_nsec);
    found = found || written >= time;
  });
  return found;
}

std::optional<LastMetric> RunFolder::last_metric() const {
  const AsUser rights(user_);
  const std::string text = tail(path_ / "metrics.jsonl", 8192);
  std::size_t end = text.rfind('\n');
  while (end != std::string::npos && end > 0) {
    const std::size_t begin = text.rfind('\n', end - 1);
    const std::size_t first = begin == std::string::npos ? 0 : begin + 1;
    json::error_code error;
    const json::value value = json::parse(text.substr(first, end - first), error);
    if (!error && value.is_object() && value.as_object().contains("step")) {
      const json::object& line = value.as_object();
      const double step = number(line, "step");
      return LastMetric{std::isfinite(step) ? static_cast<std::int64_t>(step) : 0,
                        number(line, "loss"), number(line, "tokens_per_second"),
                        number(line, "mfu")};
    }
    end = begin;
  }
  return std::nullopt;
}

std::optional<launch::Artifact> RunFolder::artifact() const {
  const AsUser rights(user_);
  const std::optional<std::string> text = launch::read_small_file(path_, launch::kArtifactName);
  if (!text) return std::nullopt;
  return launch::parse_artifact(*text);
}

launch::LauncherState RunFolder::launcher() const {
  const AsUser rights(user_);
  return launch::find_launcher(path_);
}

void RunFolder::signal_launcher(const std::string& attempt_id, int signal) const {
  const AsUser rights(user_);
  launch::signal_launcher(path_, attempt_id, signal);
}

std::optional<launch::ExitReport> RunFolder::exit_report(int attempt) const {
  const AsUser rights(user_);
  return launch::read_exit(path_, attempt);
}

bool RunFolder::has_started(int attempt) const {
  const AsUser rights(user_);
  std::error_code ignored;
  return fs::exists(launch::attempt_folder(path_, attempt) / "started.json", ignored);
}

bool RunFolder::has_stack(int attempt, int rank) const {
  const AsUser rights(user_);
  std::error_code ignored;
  return fs::exists(launch::attempt_folder(path_, attempt) / launch::rank_file(rank, ".stack"),
                    ignored);
}

void RunFolder::record(const RunEvent& event) const {
  const AsUser rights(user_);
  try_to("events.jsonl", [&] {
    write_own(path_ / "events.jsonl", O_APPEND, 0644, json::serialize(as_json(event)) + "\n");
  });
}

void RunFolder::write_channel(int attempt, const std::string& address) const {
  const AsUser rights(user_);
  try_to("channel", [&] {
    const fs::path path = launch::attempt_folder(path_, attempt) / "channel";
    // A launcher that has not begun yet will write it.
    if (!fs::exists(path.parent_path())) return;
    replace_own(path, address + "\n");
  });
}

void RunFolder::ask_for_stack(int attempt, int rank) const {
  const AsUser rights(user_);
  try_to("dump", [&] {
    replace_own(launch::attempt_folder(path_, attempt) / "dump", fmt::format("{}\n", rank));
  });
}

}  // namespace talaria::coordinator
