// SPDX-License-Identifier: Apache-2.0
// The logs of an attempt's ranks as one: lines in the order of the time stamps that they begin with
// ("2026-11-24T14:40:00.123Z ..."). A line without one follows its predecessor. Files may grow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace talaria::coordinator {

inline constexpr int kLauncherLog = -1;  // in the place of a rank

struct LogLine {
  double time = 0.0;  // wall seconds; 0: before the first stamp of its file
  int attempt = 0;
  int rank = kLauncherLog;
  std::string text;  // as in the file, without the line's end
};

// Wall seconds of a stamp at the beginning of `line`, or nothing.
std::optional<double> stamp_of(std::string_view line);

// One file, read line by line and never held open. Links and special files are refused: the folder
// may be another user's.
class LogFile {
 public:
  LogFile(std::filesystem::path path, int attempt, int rank);

  const std::filesystem::path& path() const { return path_; }
  // The next line; `whole`: only one whose end has been written, else also what stands behind the
  // last line's end. A line of more than 64 KiB comes in pieces.
  std::optional<LogLine> next(bool whole);

 private:
  bool fill();
  LogLine make_line(std::string text);

  std::filesystem::path path_;
  int attempt_;
  int rank_;
  std::int64_t offset_ = 0;
  std::string buffer_;
  std::size_t start_ = 0;
  double time_ = 0.0;
};

// The files of one attempt's folder, or of one of its ranks.
std::vector<LogFile> attempt_logs(const std::filesystem::path& run_directory, int attempt,
                                  std::optional<int> rank);

// All lines of all files, merged.
void merge_logs(std::vector<LogFile> files, const std::function<void(const LogLine&)>& print);

// "rank 3 | text", harmless on a terminal.
std::string log_text(const LogLine& line);
std::string log_json(const LogLine& line);

}  // namespace talaria::coordinator
