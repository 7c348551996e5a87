// SPDX-License-Identifier: Apache-2.0
// The rules that the source tree keeps: who may include whom (docs/architecture.md, "Folders"), a
// licence line in every file, no path of one developer's machine.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace talaria::testing_support {

// Paths of the project's own files below `root`, relative and sorted; build/, data/, runs/ and
// hidden folders are left out, except .ci.
std::vector<std::string> project_files(const std::filesystem::path& root);

// Each gives one line a violation: "path:line: what; allowed: ...".
std::vector<std::string> include_violations(const std::filesystem::path& root);
std::vector<std::string> licence_violations(const std::filesystem::path& root);
std::vector<std::string> machine_path_violations(const std::filesystem::path& root);

}  // namespace talaria::testing_support
