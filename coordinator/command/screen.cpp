// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/screen.h"

#include <algorithm>

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "coordinator/command/format.h"

namespace talaria::coordinator {

int visible_width(const std::string& line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\033') {
      i = std::min(line.find('m', i), line.size());
    } else {
      text += line[i];
    }
  }
  return display_width(text);
}

std::string redraw(const std::vector<std::string>& before, const std::vector<std::string>& above,
                   const std::vector<std::string>& block, int width) {
  // A terminal that has become narrower broke the lines of the old block.
  int rows = 0;
  for (const std::string& line : before) {
    rows += std::max(1, (visible_width(line) + width - 1) / std::max(1, width));
  }
  std::string out;
  if (rows > 0) out += fmt::format("\r\033[{}A", rows);
  const auto put = [&](const std::string& line) {
    // After a line that fills its last row the cursor still stands on that row's last character.
    const int columns = visible_width(line);
    const bool full = columns > 0 && columns % std::max(1, width) == 0;
    out += line + (full ? "" : "\033[K") + "\r\n";
  };
  std::for_each(above.begin(), above.end(), put);
  std::for_each(block.begin(), block.end(), put);
  if (rows > 0) out += "\033[J";  // what is left of a longer block
  return out;
}

int Screen::width() const {
  winsize size{};
  const bool known = ::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

void Screen::draw(const std::vector<std::string>& above, const std::vector<std::string>& block) {
  if (above.empty() && block == block_) return;
  const std::string out = redraw(block_, above, block, width());
  block_ = block;
  // A terminal that is gone is no reason to end a job.
  [[maybe_unused]] const ssize_t put = ::write(fd_, out.data(), out.size());
}

void Screen::keep() { block_.clear(); }

}  // namespace talaria::coordinator
