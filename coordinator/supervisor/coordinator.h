// SPDX-License-Identifier: Apache-2.0
// The coordinator: holds the store, starts and watches launchers, hears ranks, and runs the loop
// observe -> plan -> act. All methods are called on the thread that runs its io_context.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <sys/types.h>

#include "coordinator/state/store.h"
#include "coordinator/supervisor/views.h"
#include "launch/attempt/command_line.h"

namespace talaria::coordinator {

// Who asks, from the socket's peer credentials.
struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct Options {
  std::filesystem::path state_directory;  // state.db, lock
  launch::Tools tools;
  int parallel_jobs = 1;
  // Of the rank channel. A job over several hosts is served on all addresses, under this name.
  std::string bind_address = "127.0.0.1";
  std::string advertised;  // default: the host's name
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

class Coordinator {
 public:
  // Takes the state directory's lock: throws UsageError naming pid and host of another coordinator.
  Coordinator(boost::asio::io_context& io, const Options& options);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // Begins listening and the loop.
  void start();

  // Each throws Refusal: 400 bad request, 404 no such job (also when it is another user's), 409
  // state.
  std::int64_t submit(const SubmitRequest& request, const User& user);
  // The user's jobs, newest first; root sees everybody's. Without attempts, ranks and transitions;
  // ended ones only with `all`.
  std::vector<JobView> list(const User& user, bool all) const;
  JobView show(std::int64_t job, const User& user) const;
  void wish(std::int64_t job, Wish wish, const std::string& reason, const User& user);
  void retry(std::int64_t job, const User& user);

  // Jobs that have not ended, of all users.
  int unended() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::coordinator
