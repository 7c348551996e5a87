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
  if (!environment.home.starts_with('/')) {
    fail_usage("no place for the user's state; set HOME or XDG_STATE_HOME to an absolute path");
  }
  return fs::path(environment.home) / ".local/state/talaria";
}

fs::path state_directory_of(const Environment& environment, const std::string& given) {
  if (!given.empty()) return fs::absolute(given);
  if (!environment.state_directory.empty()) return fs::absolute(environment.state_directory);
  return ::geteuid() == 0 ? fs::path(kSystemState) : user_state_folder(environment) / "coordinator";
}

std::vector<fs::path> places_to_look(const Environment& environment, const std::string& given) {
  std::vector<fs::path> places = {state_directory_of(environment, given)};
  const bool own = given.empty() && environment.state_directory.empty();
  if (own && places[0] != kSystemState) places.emplace_back(kSystemState);
  return places;
}

}  // namespace talaria::coordinator
