// SPDX-License-Identifier: Apache-2.0
// Programs that this node has: where PATH finds one, and the version that it tells.
#pragma once

#include <filesystem>
#include <string>

namespace talaria::inventory {

// The first executable file `name` along `path` (a value of PATH); a name with a slash is looked
// for as it is. Empty: none.
std::filesystem::path find_program(const std::string& name, const std::string& path);

// The first version number ("22.05.8") in a text, or "".
std::string version_in(const std::string& text);

struct Slurm {
  std::filesystem::path sbatch, srun, scontrol;  // empty: not found
  std::string version;                           // "22.05.8"; empty: none found, or it does not say
};

// Looks along `path` and asks `sbatch --version`, which needs no controller, for at most
// `timeout_seconds`.
Slurm find_slurm(const std::string& path, double timeout_seconds);

}  // namespace talaria::inventory
