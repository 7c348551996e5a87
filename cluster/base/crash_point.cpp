// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/crash_point.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>

#include <fmt/format.h>

#include "cluster/base/error.h"

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

}  // namespace

void arm_crash_point(const std::vector<std::string_view>& names, const std::string& name, int hit) {
  if (!known(names, name)) {
    fail_usage("crash point {}: unknown, allowed are {}", name, fmt::join(names, ", "));
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
