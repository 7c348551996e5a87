// SPDX-License-Identifier: Apache-2.0
// A coordinator inside this process, for `talaria run` without a daemon: a thread of its own that
// serves the run directory's socket.
#pragma once

#include <atomic>
#include <exception>
#include <future>
#include <thread>

#include <boost/asio/io_context.hpp>

#include "cluster/base/file.h"
#include "coordinator/command/context.h"

namespace talaria::coordinator {

class Embedded {
 public:
  // Begins at once; throws what the coordinator's constructor throws (UsageError where another
  // process holds the state). While it lives, what the coordinator logs (standard error) goes to
  // coordinator.log in its state directory, so that it does not cut into the view.
  Embedded(const MakeService& make_service, const Options& options);
  // Ends the thread; what still runs goes on without a coordinator.
  ~Embedded();
  Embedded(const Embedded&) = delete;
  Embedded& operator=(const Embedded&) = delete;

  // The user's standard error.
  int screen() const { return screen_.get(); }
  // Throws what ended the thread.
  void check();

 private:
  void serve(const MakeService& make_service, const Options& options);

  UniqueFd screen_;
  boost::asio::io_context io_;
  std::promise<void> begun_;
  std::exception_ptr failure_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace talaria::coordinator
