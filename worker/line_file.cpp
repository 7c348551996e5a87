// SPDX-License-Identifier: Apache-2.0
#include "worker/line_file.h"

#include <algorithm>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria::worker {

void for_each_line(
    const char* option, const std::filesystem::path& path,
    const std::function<void(std::string_view line, const std::string& where)>& use) {
  if (!std::filesystem::is_regular_file(path)) {
    fail_usage("{} {}: no such file; name a .jsonl file or a text file", option,
               in_quotes(path.string()));
  }
  const std::string text = read_file(path);
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
    use(line, where);
  }
}

boost::json::object parse_object(std::string_view line, const std::string& where,
                                 std::string_view allowed) {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(line, error);
  if (error || !value.is_object()) {
    fail_usage("{}: found {}; allowed: a JSON object {}", where, in_quotes(line), allowed);
  }
  return std::move(value.as_object());
}

std::string string_member(const boost::json::object& object, std::string_view key,
                          const std::string& where) {
  const boost::json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) {
    fail_usage("{}: no string \"{}\"; give each line one", where, key);
  }
  return std::string(value->get_string());
}

}  // namespace talaria::worker
