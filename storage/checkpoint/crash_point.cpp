// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/crash_point.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>

#include <fmt/format.h>

#include "cluster/base/error.h"

namespace talaria::storage {
namespace {

// The one armed point of the process: its identity in the test, set before anything runs.
struct Armed {
  std::atomic<bool> on = false;
  std::mutex mutex;
  std::string name;
  int hit = 0;
  int passed = 0;
};

Armed& armed() {
  static Armed state;
  return state;
}

bool known(std::string_view name) {
  const auto& names = crash_point_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const std::vector<std::string_view>& crash_point_names() {
  static const std::vector<std::string_view> names = {
      "checkpoint.begun", "shard.created", "shard.half_written", "shard.synced", "index.written",
      "manifest.written", "before_rename", "after_rename",       "before_prune", "prune.renamed"};
  return names;
}

void arm_crash_point(const std::string& name, int hit) {
  if (!known(name)) {
    fail_usage("crash point {}: unknown, allowed are {}", name,
               fmt::join(crash_point_names(), ", "));
  }
  if (hit < 1) fail_usage("crash point {}: hit {}, allowed are 1 and more", name, hit);
  Armed& state = armed();
  const std::lock_guard lock(state.mutex);
  state.name = name;
  state.hit = hit;
  state.passed = 0;
  state.on = true;
}

void crash_point(std::string_view name) {
  Armed& state = armed();
  if (!state.on) return;
  TALARIA_CHECK(known(name), "crash point {}", name);
  const std::lock_guard lock(state.mutex);
  if (name == state.name && ++state.passed == state.hit) std::raise(SIGKILL);
}

std::string unreached_crash_point() {
  Armed& state = armed();
  const std::lock_guard lock(state.mutex);
  if (!state.on) return {};
  return fmt::format("crash point {}: armed for hit {}, reached {} times", state.name, state.hit,
                     state.passed);
}

}  // namespace talaria::storage
