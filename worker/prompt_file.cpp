// SPDX-License-Identifier: Apache-2.0
#include "worker/prompt_file.h"

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "worker/line_file.h"

namespace talaria::worker {

std::vector<std::string> read_prompts(const std::filesystem::path& path) {
  const bool is_json = path.extension() == ".jsonl";
  std::vector<std::string> prompts;
  for_each_line("--prompts", path, [&](std::string_view line, const std::string& where) {
    prompts.push_back(is_json ? string_member(parse_object(line, where, "with a string \"prompt\""),
                                              "prompt", where)
                              : std::string(line));
  });
  if (prompts.empty()) {
    fail_usage("{}: no prompts; give it a line at least", in_quotes(path.string()));
  }
  return prompts;
}

}  // namespace talaria::worker
