// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/log.h"

#include <unistd.h>

namespace talaria {
namespace {

std::string& identity() {
  static std::string name;
  return name;
}

}  // namespace

void set_log_identity(std::string name) { identity() = std::move(name); }

std::string log_prefix() { return identity().empty() ? "" : identity() + ": "; }

void log_line(const std::string& text) {
  const std::string line = log_prefix() + text + "\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace talaria
