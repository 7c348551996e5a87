// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/crash_point.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

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

std::vector<std::string_view> all_names() {
  std::vector<std::string_view> names = crash_point_names();
  const auto& loop = loop_crash_point_names();
  names.insert(names.end(), loop.begin(), loop.end());
  return names;
}

bool known(std::string_view name) {
  const std::vector<std::string_view> names = all_names();
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

const std::vector<std::string_view>& crash_point_names() {
  static const std::vector<std::string_view> names = {
      "checkpoint.begun", "shard.created", "shard.half_written", "shard.synced", "index.written",
      "manifest.written", "before_rename", "after_rename",       "before_prune", "prune.renamed"};
  return names;
}

const std::vector<std::string_view>& loop_crash_point_names() {
  static const std::vector<std::string_view> names = {"step.begin", "step.end"};
  return names;
}

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

void arm_crash_point(const std::string& name, int hit) {
  if (!known(name)) {
    fail_usage("crash point {}: unknown, allowed are {}", in_quotes(name),
               fmt::join(all_names(), ", "));
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
