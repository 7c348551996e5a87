// SPDX-License-Identifier: Apache-2.0
#include "tests/support/style_rules.h"

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>

#include <fmt/format.h>

#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria::testing_support {

namespace {

namespace fs = std::filesystem;

// What each folder may include of ours besides itself: "x/" is a whole folder, "x/y.h" one header.
const std::map<std::string, std::vector<std::string>>& include_table() {
  static const std::map<std::string, std::vector<std::string>> table = {
      {"cluster", {}},
      {"parallel", {"cluster/"}},
      {"model", {"cluster/", "parallel/"}},
      {"storage", {"cluster/", "parallel/mesh.h", "parallel/box.h", "parallel/schedule.h"}},
      {"launch",
       {"cluster/", "parallel/mesh.h", "parallel/box.h", "parallel/schedule.h", "model/config.h"}},
      {"worker",
       {"cluster/", "parallel/", "model/", "storage/", "launch/job.h", "launch/stages.h",
        "launch/gate.h", "launch/artifact.h", "launch/artifact_json.h"}},
      {"coordinator", {"cluster/", "launch/"}},
      {"tests",
       {"cluster/", "parallel/", "model/", "storage/", "launch/", "worker/", "coordinator/"}},
  };
  return table;
}

bool ends_in(const std::string& path, const std::vector<std::string>& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const std::string& ending) { return path.ends_with(ending); });
}

bool is_cpp(const std::string& path) { return ends_in(path, {".h", ".cpp", ".cu", ".cuh"}); }

bool is_script(const std::string& path) {
  return path.starts_with(".ci/") || (path.starts_with("scripts/") && !path.ends_with(".txt")) ||
         path.starts_with("tests/support/check_");
}

bool may_include(const std::string& folder, const std::string& header) {
  if (header.starts_with(folder + "/")) return true;
  const std::vector<std::string>& allowed = include_table().at(folder);
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& entry) {
    return entry.ends_with('/') ? header.starts_with(entry) : header == entry;
  });
}

}  // namespace

std::vector<std::string> project_files(const fs::path& root) {
  std::vector<std::string> files;
  for (auto at = fs::recursive_directory_iterator(root); at != fs::recursive_directory_iterator();
       ++at) {
    const std::string name = at->path().filename().string();
    const bool hidden = name.starts_with(".") && name != ".ci";
    const bool made = at.depth() == 0 && (name == "build" || name == "data" || name == "runs");
    if (hidden || made) {
      if (at->is_directory()) at.disable_recursion_pending();
    } else if (at->is_regular_file()) {
      files.push_back(fs::relative(at->path(), root).generic_string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> include_violations(const fs::path& root) {
  static const std::regex include("^[ \t]*#[ \t]*include[ \t]*\"([^\"]+)\".*");
  std::vector<std::string> found;
  for (const std::string& path : project_files(root)) {
    const std::string folder = path.substr(0, path.find('/'));
    if (!is_cpp(path)) continue;
    if (!include_table().contains(folder)) {
      found.push_back(
          fmt::format("{}:1: source in a folder without a row in the include table", path));
      continue;
    }
    std::istringstream lines(read_file(root / path));
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
      std::smatch match;
      if (!std::regex_match(line, match, include)) continue;
      const std::string header = match[1];
      if (!fs::exists(root / header)) {
        found.push_back(
            fmt::format("{}:{}: includes \"{}\"; allowed: paths from the root of the "
                        "project, <...> for others",
                        path, number, header));
      } else if (!may_include(folder, header)) {
        std::vector<std::string> allowed = include_table().at(folder);
        allowed.push_back(folder + "/");
        found.push_back(fmt::format("{}:{}: includes \"{}\"; allowed in {}/: {}", path, number,
                                    header, folder, join_or(allowed)));
      }
    }
  }
  return found;
}

std::vector<std::string> licence_violations(const fs::path& root) {
  const std::string licence = "SPDX-License-Identifier: Apache-2.0";
  std::vector<std::string> found;
  for (const std::string& path : project_files(root)) {
    const bool script = is_script(path);
    const bool cmake = ends_in(path, {".cmake", "CMakeLists.txt"});
    if (!script && !cmake && !is_cpp(path) && !path.ends_with(".toml")) continue;
    std::istringstream lines(read_file(root / path));
    std::string line;
    std::getline(lines, line);
    if (script) std::getline(lines, line);  // after #!
    const std::string wanted = (is_cpp(path) ? "// " : "# ") + licence;
    if (line != wanted) {
      found.push_back(fmt::format("{}:{}: no licence; allowed: {}", path, script ? 2 : 1, wanted));
    }
  }
  return found;
}

std::vector<std::string> machine_path_violations(const fs::path& root) {
  // Home folders and work folders. Written in two parts, so that this file passes.
  static const std::regex place(
      "(^|[^A-Za-z0-9_.-])/(ho"
      "me|ro"
      "ot|Us"
      "ers|wo"
      "rk)/.*");
  std::vector<std::string> found;
  for (const std::string& path : project_files(root)) {
    std::istringstream lines(read_file(root / path));
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
      // A line of data (a long one) is no place to look at with a backtracking matcher.
      if (line.size() > 400 || !std::regex_search(line, place)) continue;
      found.push_back(
          fmt::format("{}:{}: a path of one machine: {}", path, number, one_line(line)));
    }
  }
  return found;
}

}  // namespace talaria::testing_support
