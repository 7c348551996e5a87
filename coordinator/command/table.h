// SPDX-License-Identifier: Apache-2.0
// A table for people: a heading, columns as wide as they need to be, cells on one line.
#pragma once

#include <string>
#include <vector>

namespace talaria::coordinator {

class Table {
 public:
  // A heading that begins with '>' makes its column flush right.
  explicit Table(const std::vector<std::string>& headings);

  void add(const std::vector<std::string>& cells);  // as many as headings; one_line()d here
  // `width` > 0: the widest column that is flush left is cut until a line fits.
  std::string text(int width = 0) const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // the first is the heading
};

}  // namespace talaria::coordinator
