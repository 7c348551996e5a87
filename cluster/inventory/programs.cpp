// SPDX-License-Identifier: Apache-2.0
#include "cluster/inventory/programs.h"

#include <string_view>

#include <unistd.h>

#include "cluster/base/subprocess.h"

namespace talaria::inventory {

namespace fs = std::filesystem;

namespace {

bool is_program(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

fs::path find_program(const std::string& name, const std::string& path) {
  if (name.find('/') != std::string::npos) return is_program(name) ? fs::path(name) : fs::path();
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t colon = std::min(path.find(':', begin), path.size());
    const std::string folder = path.substr(begin, colon - begin);
    fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (is_program(candidate)) return candidate;
    begin = colon + 1;
  }
  return {};
}

std::string version_in(const std::string& text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (!is_digit(text[at]) || (at > 0 && (is_digit(text[at - 1]) || text[at - 1] == '.')))
      continue;
    std::size_t end = at;
    int dots = 0;
    while (end < text.size() && (is_digit(text[end]) || text[end] == '.')) {
      if (text[end] == '.') {
        if (end + 1 == text.size() || !is_digit(text[end + 1])) break;
        ++dots;
      }
      ++end;
    }
    if (dots > 0) return text.substr(at, end - at);
  }
  return "";
}

Slurm find_slurm(const std::string& path, double timeout_seconds) {
  Slurm slurm;
  slurm.sbatch = find_program("sbatch", path);
  slurm.srun = find_program("srun", path);
  slurm.scontrol = find_program("scontrol", path);
  if (slurm.sbatch.empty()) return slurm;
  const Captured said = run_captured({slurm.sbatch.string(), "--version"}, timeout_seconds);
  if (said.exit_code == 0) slurm.version = version_in(said.out);
  return slurm;
}

}  // namespace talaria::inventory
