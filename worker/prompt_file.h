// SPDX-License-Identifier: Apache-2.0
// The prompts of `talaria generate --prompts`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace talaria::worker {

// A file named *.jsonl: of each line, a JSON object, the string "prompt"; other keys are passed
// over. Any other file: each line is a prompt. Empty lines are passed over. Throws UsageError with
// file and line for what is neither, is no UTF-8, or for a file without prompts.
std::vector<std::string> read_prompts(const std::filesystem::path& path);

}  // namespace talaria::worker
