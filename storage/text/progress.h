// SPDX-License-Identifier: Apache-2.0
// How far a long reading job is, on stderr: a bar where stderr is a terminal, else now and then a
// line.
#pragma once

#include <cstdint>
#include <string>

namespace talaria::storage {

// "1.5 MB", "3.2 GB": decimal units.
std::string human_bytes(std::int64_t bytes);

class ByteProgress {
 public:
  ByteProgress(std::string label, std::int64_t total);
  // Ends the bar's line if finish() was not called.
  ~ByteProgress();
  ByteProgress(const ByteProgress&) = delete;
  ByteProgress& operator=(const ByteProgress&) = delete;

  void update(std::int64_t done);
  // Says the total time and speed.
  void finish();

  // The text shown for `done` bytes after `seconds`: percentage, MB/s and time left.
  std::string line(std::int64_t done, double seconds) const;

 private:
  void show(std::int64_t done, double now);

  std::string label_;
  std::int64_t total_;
  bool terminal_;
  double start_;
  double shown_;
  bool open_line_ = false;
};

}  // namespace talaria::storage
