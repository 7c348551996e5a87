// SPDX-License-Identifier: Apache-2.0
// The foot of a terminal that is redrawn in place: a block of lines, and above it what scrolls
// away. One write(2) a change, nothing where nothing changed, so nothing flickers. The cursor rests
// below the block, so the terminal is in order whenever the program ends.
#pragma once

#include <string>
#include <vector>

namespace talaria::coordinator {

class Screen {
 public:
  explicit Screen(int fd) : fd_(fd) {}

  // Columns of the terminal, 80 where it does not tell.
  int width() const;
  // Prints `above` for good, and `block` below it in the place of the block before.
  void draw(const std::vector<std::string>& above, const std::vector<std::string>& block);
  // Leaves the block standing; the next draw() begins below it.
  void keep();

 private:
  int fd_;
  std::vector<std::string> block_;
};

// The bytes that draw() writes: pure. `width` may differ from the one that `before` was drawn for.
std::string redraw(const std::vector<std::string>& before, const std::vector<std::string>& above,
                   const std::vector<std::string>& block, int width);

// Columns of what the terminal shows of a line with colours.
int visible_width(const std::string& line);

}  // namespace talaria::coordinator
