// SPDX-License-Identifier: Apache-2.0
#include "storage/text/progress.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/log.h"

namespace talaria::storage {
namespace {

constexpr double kTerminalSeconds = 0.2;  // between two drawings of the bar
constexpr double kPlainSeconds = 5;       // between two lines
constexpr std::size_t kBarWidth = 24;

void put(const std::string& text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string human_bytes(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 1000000) return fmt::format("{:.1f} kB", value / 1e3);
  if (bytes < 1000000000) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.1f} GB", value / 1e9);
}

ByteProgress::ByteProgress(std::string label, std::int64_t total)
    : label_(std::move(label)),
      total_(std::max<std::int64_t>(total, 1)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(monotonic_seconds()),
      shown_(start_) {}

ByteProgress::~ByteProgress() {
  if (open_line_) put("\n");
}

std::string ByteProgress::line(std::int64_t done, double seconds) const {
  done = std::min(done, total_);
  const double share = static_cast<double>(done) / static_cast<double>(total_);
  const double speed = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double left = speed > 0 ? static_cast<double>(total_ - done) / speed : 0;
  return fmt::format("{:3.0f} % of {}, {:.1f} MB/s, {} left", 100 * share, human_bytes(total_),
                     speed / 1e6, speed > 0 ? clock_text(left) : "?");
}

void ByteProgress::show(std::int64_t done, double now) {
  shown_ = now;
  if (!terminal_) {
    log_line(label_ + ": " + line(done, now - start_));
    return;
  }
  const auto filled =
      static_cast<std::size_t>(std::min(done, total_) * std::int64_t{kBarWidth} / total_);
  put(fmt::format("\r\033[K{:<12} [{}{}] {}", label_, std::string(filled, '#'),
                  std::string(kBarWidth - filled, '.'), line(done, now - start_)));
  open_line_ = true;
}

void ByteProgress::update(std::int64_t done) {
  const double now = monotonic_seconds();
  if (now - shown_ >= (terminal_ ? kTerminalSeconds : kPlainSeconds)) show(done, now);
}

void ByteProgress::finish() {
  const double seconds = monotonic_seconds() - start_;
  if (open_line_) put("\r\033[K");
  open_line_ = false;
  log_line(fmt::format("{}: {} in {:.1f} s, {:.1f} MB/s", label_, human_bytes(total_), seconds,
                       static_cast<double>(total_) / 1e6 / std::max(seconds, 1e-9)));
}

}  // namespace talaria::storage
