// SPDX-License-Identifier: Apache-2.0
// The values of the API as JSON (docs/api.md), written by the server and read by the client.
// Strings that are no UTF-8 are mended, numbers that are not finite travel as null, and an
// attempt's secret does not travel. Readers treat their input as hostile: they throw Error only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/service.h"

namespace talaria::coordinator {

// How much of a job: without attempts, ranks and transitions, or all.
enum class Detail { kList, kAll };

std::string to_json(const JobView& view, Detail detail);
std::string to_json(const std::vector<JobView>& views);  // {"jobs": [...]}, Detail::kList
std::string to_json(const SubmitRequest& request);
std::string reason_json(const std::string& reason);  // {"reason": "..."}
std::string error_json(const std::string& text);     // {"error": "one line"}
std::string id_json(std::int64_t job);               // {"id": 7}

JobView parse_job_view(const std::string& text);
std::vector<JobView> parse_job_views(const std::string& text);
std::int64_t parse_id(const std::string& text);

// Requests. Each throws Error saying which key is wrong.
SubmitRequest parse_submit(const std::string& text);
// {"reason": "..."} or nothing: "".
std::string parse_reason(const std::string& text);

// The text of {"error": "..."}, or "" for anything else.
std::string parse_error(const std::string& text);

struct Version {
  std::string version;
  std::int64_t api = 0;
  std::int64_t pid = 0;
  std::string host;
};
std::string to_json(const Version& version);
Version parse_version(const std::string& text);

}  // namespace talaria::coordinator
