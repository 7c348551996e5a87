// SPDX-License-Identifier: Apache-2.0
// The runs that this user has started with `talaria run`, so that `ps` finds them: a small file
// each in $XDG_STATE_HOME/talaria/runs, named after the run directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace talaria::coordinator {

// Where the coordinator of a run that serves itself has its state.
std::filesystem::path embedded_state(const std::filesystem::path& run_directory);

// Throws Error where the folder cannot be written.
void register_run(const std::filesystem::path& folder, const std::string& run_directory);

// The registered run directories that still have such a folder. Files of others are removed.
std::vector<std::filesystem::path> registered_runs(const std::filesystem::path& folder);

}  // namespace talaria::coordinator
