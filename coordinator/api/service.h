// SPDX-License-Identifier: Apache-2.0
// What a coordinator does for users: five verbs and the values they deal in. The API's server calls
// it; Coordinator (coordinator/supervisor) implements it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "coordinator/supervisor/views.h"

namespace talaria::coordinator {

// Who asks, from the socket's peer credentials.
struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

// A request that was refused: the HTTP status and one line for the user.
class Refusal : public Error {
 public:
  Refusal(int http_status, const std::string& text) : Error(text), status(http_status) {}
  int status;
};

struct SubmitRequest {
  std::string job_toml;           // the file's text with overrides applied
  std::string file_name;          // for messages
  std::string run_directory;      // absolute
  std::string working_directory;  // absolute
};

// Each verb throws Refusal: 400 bad request, 404 no such job (also when it is another user's), 409
// state. All are called on one thread.
class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  virtual ~Service() = default;

  virtual std::int64_t submit(const SubmitRequest& request, const User& user) = 0;
  // The user's jobs, newest first; root sees everybody's. Without attempts, ranks and transitions;
  // ended ones only with `all`.
  virtual std::vector<JobView> list(const User& user, bool all) const = 0;
  virtual JobView show(std::int64_t job, const User& user) const = 0;
  virtual void wish(std::int64_t job, Wish wish, const std::string& reason, const User& user) = 0;
  virtual void retry(std::int64_t job, const User& user) = 0;
};

}  // namespace talaria::coordinator
