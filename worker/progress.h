// SPDX-License-Identifier: Apache-2.0
// What a person sees of a run, on stderr: one bar that is redrawn, or plain lines at a calm pace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace talaria::worker {

enum class ProgressStyle : std::uint8_t { kNone, kLines, kBar };

struct ProgressState {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double loss = 0.0;
  double tokens_per_second = 0.0;
  double mfu = 0.0;
  std::optional<double> validation_loss;
  std::int64_t checkpoint = 0;  // step of the newest one, 0: none
};

class Progress {
 public:
  Progress(ProgressStyle style, std::int64_t first_step);
  // After each step. Lines come at most every ten seconds, and at the last step.
  void show(const ProgressState& state);
  // A line above the bar.
  void note(const std::string& text);
  void finish();

 private:
  ProgressStyle style_;
  std::int64_t first_step_;
  double started_;
  double last_shown_ = 0.0;
  bool drawn_ = false;
};

// "1 h 02 min", "3 min 20 s", "12 s".
std::string format_duration(double seconds);

}  // namespace talaria::worker
