// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/registry.h"

#include <cstdint>

#include <boost/json.hpp>
#include <fmt/core.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// FNV-1a: a name for a path, nothing that must resist an attack.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

// The run directory that a file names, or "".
std::string read_entry(const fs::path& path) {
  constexpr std::uintmax_t kMost = 1 << 16;
  std::error_code gone;
  if (!fs::is_regular_file(path, gone) || fs::file_size(path, gone) > kMost) return "";
  json::error_code error;
  const json::value value = json::parse(read_file(path), error);
  if (error || !value.is_object()) return "";
  const json::value* run = value.get_object().if_contains("run_directory");
  return run != nullptr && run->is_string() ? std::string(run->get_string()) : "";
}

}  // namespace

fs::path embedded_state(const fs::path& run_directory) { return run_directory / "coordinator"; }

void register_run(const fs::path& folder, const std::string& run_directory) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("{}: cannot make the folder: {}", folder.string(), error.message());
  const json::object entry = {{"run_directory", valid_utf8(run_directory)},
                              {"started", wall_seconds()}};
  write_file_atomic(folder / fmt::format("{:016x}.json", hash_of(run_directory)),
                    json::serialize(entry) + "\n");
}

std::vector<fs::path> registered_runs(const fs::path& folder) {
  std::vector<fs::path> runs;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() != ".json") continue;
    const fs::path run = read_entry(at->path());
    std::error_code gone;
    if (!run.empty() && fs::exists(embedded_state(run), gone)) {
      runs.push_back(run);
    } else if (!gone) {
      fs::remove(at->path(), gone);
    }
  }
  return runs;
}

}  // namespace talaria::coordinator
