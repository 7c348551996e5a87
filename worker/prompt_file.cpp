// SPDX-License-Identifier: Apache-2.0
#include "worker/prompt_file.h"

#include <string_view>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria::worker {
namespace {

std::string prompt_of(std::string_view line, const std::string& where) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(line, error);
  const boost::json::object* object = value.if_object();
  if (error || object == nullptr) {
    fail_usage("{}: found {}; allowed: a JSON object with a string \"prompt\"", where,
               in_quotes(line));
  }
  const boost::json::value* prompt = object->if_contains("prompt");
  if (prompt == nullptr || !prompt->is_string()) {
    fail_usage("{}: no string \"prompt\"; give each line one", where);
  }
  return std::string(prompt->get_string());
}

}  // namespace

std::vector<std::string> read_prompts(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    fail_usage("--prompts {}: no such file; name a .jsonl file or a text file",
               in_quotes(path.string()));
  }
  const std::string text = read_file(path);
  const bool is_json = path.extension() == ".jsonl";
  std::vector<std::string> prompts;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = fmt::format("{}:{}", one_line(path.string()), number);
    if (const std::size_t valid = utf8_prefix(line); valid < line.size()) {
      fail_usage("{}: byte {} is no UTF-8; save the file as UTF-8", where, valid + 1);
    }
    prompts.push_back(is_json ? prompt_of(line, where) : std::string(line));
  }
  if (prompts.empty()) {
    fail_usage("{}: no prompts; give it a line at least", in_quotes(path.string()));
  }
  return prompts;
}

}  // namespace talaria::worker
