// SPDX-License-Identifier: Apache-2.0
#include "worker/progress.h"

#include <cmath>
#include <cstdio>

#include <fmt/core.h>

#include "cluster/base/clock.h"

namespace talaria::worker {
namespace {

constexpr double kBarSeconds = 0.2;
constexpr double kLineSeconds = 10.0;

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

Progress::Progress(ProgressStyle style, std::int64_t first_step)
    : style_(style), first_step_(first_step), started_(monotonic_seconds()) {}

void Progress::show(const ProgressState& state) {
  const double now = monotonic_seconds();
  const double pause = style_ == ProgressStyle::kBar ? kBarSeconds : kLineSeconds;
  const bool last = state.step == state.steps;
  if (style_ == ProgressStyle::kNone || (now - last_shown_ < pause && !last)) return;
  last_shown_ = now;
  const auto done = static_cast<double>(state.step - first_step_);
  const double left =
      done > 0 ? (now - started_) / done * static_cast<double>(state.steps - state.step) : 0.0;
  std::string text = fmt::format("step {}/{}  loss {:.4f}  {:.0f} tok/s  MFU {:.1f} %  ETA {}",
                                 state.step, state.steps, state.loss, state.tokens_per_second,
                                 100.0 * state.mfu, format_duration(left));
  if (state.validation_loss) text += fmt::format("  val {:.4f}", *state.validation_loss);
  if (state.checkpoint > 0) text += fmt::format("  saved {}", state.checkpoint);
  if (style_ == ProgressStyle::kLines) {
    fmt::print(stderr, "{}\n", text);
    return;
  }
  constexpr int kWidth = 20;
  const int filled = static_cast<int>(kWidth * state.step / (state.steps > 0 ? state.steps : 1));
  fmt::print(stderr, "\r\033[K[{:#<{}}{:.<{}}] {}", "", filled, "", kWidth - filled, text);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::note(const std::string& text) {
  if (style_ == ProgressStyle::kNone) return;
  if (drawn_) fmt::print(stderr, "\r\033[K");
  fmt::print(stderr, "{}\n", text);
}

void Progress::finish() {
  if (drawn_) fmt::print(stderr, "\n");
  drawn_ = false;
}

}  // namespace talaria::worker
