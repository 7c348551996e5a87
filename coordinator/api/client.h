// SPDX-License-Identifier: Apache-2.0
// Talks to a coordinator over its Unix socket: one connection a request, blocking, with a limit of
// time. No environment, no secret, no network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/api/json.h"

namespace talaria::coordinator {

// Nobody listens on the socket, or the one who does gives no answer.
class NoCoordinator : public Error {
 public:
  using Error::Error;
};

class Client {
 public:
  explicit Client(std::filesystem::path state_directory, double timeout_seconds = 30.0)
      : directory_(std::move(state_directory)), timeout_(timeout_seconds) {}

  const std::filesystem::path& state_directory() const { return directory_; }

  // Somebody listens, and speaks this version of the API.
  bool answers() const;

  // Each throws NoCoordinator, Refusal (what the coordinator said), or Error.
  Version version() const;
  std::int64_t submit(const SubmitRequest& request) const;
  std::vector<JobView> list(bool all) const;
  JobView show(std::int64_t job) const;
  void wish(std::int64_t job, Wish wish, const std::string& reason) const;
  void retry(std::int64_t job) const;

 private:
  std::string ask(const std::string& method, const std::string& target,
                  const std::string& body = "") const;

  std::filesystem::path directory_;
  double timeout_;
};

}  // namespace talaria::coordinator
