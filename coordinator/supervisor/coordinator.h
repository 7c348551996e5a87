// SPDX-License-Identifier: Apache-2.0
// The coordinator: holds the store, starts and watches launchers, hears ranks, and runs the loop
// observe -> plan -> act. All methods are called on the thread that runs its io_context.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "coordinator/api/service.h"
#include "launch/attempt/command_line.h"

namespace talaria::coordinator {

struct Options {
  std::filesystem::path state_directory;  // state.db, lock
  launch::Tools tools;
  int parallel_jobs = 1;
  // Of the rank channel. A job over several hosts is served on all addresses, under this name.
  std::string bind_address = "127.0.0.1";
  std::string advertised;  // default: the host's name
};

class Coordinator : public Service {
 public:
  // Takes the state directory's lock: throws UsageError naming pid and host of another coordinator.
  Coordinator(boost::asio::io_context& io, const Options& options);
  ~Coordinator() override;

  // Begins listening and the loop.
  void start();

  std::int64_t submit(const SubmitRequest& request, const User& user) override;
  std::vector<JobView> list(const User& user, bool all) const override;
  JobView show(std::int64_t job, const User& user) const override;
  void wish(std::int64_t job, Wish wish, const std::string& reason, const User& user) override;
  void retry(std::int64_t job, const User& user) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace talaria::coordinator
