// SPDX-License-Identifier: Apache-2.0
// Text files that are read line by line: prompts, examples.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace talaria::worker {

// Calls use(line, "file:line") for each line that is not empty, without its end ("\r\n" too).
// Throws UsageError naming `option` for a missing file, and file and line for what is no UTF-8.
void for_each_line(const char* option, const std::filesystem::path& path,
                   const std::function<void(std::string_view line, const std::string& where)>& use);

// The line's JSON object; UsageError with `where` for another. `allowed`: "with a string ...".
boost::json::object parse_object(std::string_view line, const std::string& where,
                                 std::string_view allowed);
// Its member `key`; UsageError where it is no string.
std::string string_member(const boost::json::object& object, std::string_view key,
                          const std::string& where);

}  // namespace talaria::worker
