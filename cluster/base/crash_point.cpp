// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/crash_point.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria {
namespace {

// The one armed point of the process: its identity in the test, set before anything runs.
struct Armed {
  std::atomic<bool> on = false;
  std::mutex mutex;
  const std::vector<std::string_view>* names = nullptr;
  std::string name;
  int hit = 0;
  int passed = 0;
};

Armed& armed() {
  static Armed state;
  return state;
}

bool known(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The whole of `text` as a number of at least `least`, or nothing.
std::optional<int> number_from(std::string_view text, int least) {
  int number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end || number < least) return std::nullopt;
  return number;
}

}  // namespace

CrashOrder parse_crash_order(const std::string& text, const std::string& where) {
  std::vector<std::string_view> parts;
  std::string_view rest = text;
  for (std::size_t colon = 0; (colon = rest.find(':')) != std::string_view::npos;) {
    parts.push_back(rest.substr(0, colon));
    rest.remove_prefix(colon + 1);
  }
  parts.push_back(rest);
  parts.resize(std::max<std::size_t>(parts.size(), 2));
  const std::optional<int> hit = number_from(parts[1], 1);
  const std::optional<int> rank = parts.size() > 2 ? number_from(parts[2], 0) : 0;
  const std::optional<int> attempt = parts.size() > 3 ? number_from(parts[3], 1) : 0;
  if (parts.size() > 4 || !hit || !rank || !attempt) {
    fail_usage("{}: {}: not of the form NAME:HIT[:RANK[:ATTEMPT]]", where, in_quotes(text));
  }
  return {std::string(parts[0]), *hit, *rank, *attempt};
}

void arm_crash_point(const std::vector<std::string_view>& names, const std::string& name, int hit) {
  if (!known(names, name)) {
    fail_usage("crash point {}: unknown, allowed are {}", in_quotes(name), fmt::join(names, ", "));
  }
  if (hit < 1) fail_usage("crash point {}: hit {}, allowed are 1 and more", name, hit);
  Armed& state = armed();
  const std::lock_guard lock(state.mutex);
  state.names = &names;
  state.name = name;
  state.hit = hit;
  state.passed = 0;
  state.on = true;
}

void crash_point(std::string_view name) {
  Armed& state = armed();
  if (!state.on) return;
  const std::lock_guard lock(state.mutex);
  TALARIA_CHECK(known(*state.names, name), "crash point {}", name);
  if (name == state.name && ++state.passed == state.hit) std::raise(SIGKILL);
}

std::string unreached_crash_point() {
  Armed& state = armed();
  const std::lock_guard lock(state.mutex);
  if (!state.on) return {};
  return fmt::format("crash point {}: armed for hit {}, reached {} times", state.name, state.hit,
                     state.passed);
}

}  // namespace talaria
