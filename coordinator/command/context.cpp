// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/context.h"

#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSystemState = "/var/lib/talaria";

}  // namespace

fs::path user_state_folder(const Environment& environment) {
  if (environment.state_home.starts_with('/')) return fs::path(environment.state_home) / "talaria";
  if (!environment.home.starts_with('/')) return {};
  return fs::path(environment.home) / ".local/state/talaria";
}

fs::path state_directory_of(const Environment& environment, const std::string& given) {
  if (!given.empty()) return fs::absolute(given);
  if (!environment.state_directory.empty()) return fs::absolute(environment.state_directory);
  if (::geteuid() == 0) return kSystemState;
  const fs::path own = user_state_folder(environment);
  if (own.empty()) {
    fail_usage("no place for the user's state; set HOME or XDG_STATE_HOME, or use --state-dir");
  }
  return own / "coordinator";
}

std::vector<fs::path> places_to_look(const Environment& environment, const std::string& given) {
  if (!given.empty() || !environment.state_directory.empty()) {
    return {state_directory_of(environment, given)};
  }
  std::vector<fs::path> places;
  const fs::path own = user_state_folder(environment);
  if (::geteuid() != 0 && !own.empty()) places.push_back(own / "coordinator");
  places.emplace_back(kSystemState);
  return places;
}

}  // namespace talaria::coordinator
