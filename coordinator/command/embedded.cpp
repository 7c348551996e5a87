// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/embedded.h"

#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "coordinator/api/server.h"

namespace talaria::coordinator {

Embedded::Embedded(const MakeService& make_service, const Options& options)
    : screen_(check_sys(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), "fcntl", "standard error")) {
  const UniqueFd log =
      open_file(options.state_directory / "coordinator.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  check_sys(::dup2(log.get(), STDERR_FILENO), "dup2", "coordinator.log");
  std::future<void> begun = begun_.get_future();
  thread_ = std::thread([this, make_service, options] { serve(make_service, options); });
  try {
    begun.get();
  } catch (...) {
    thread_.join();
    ::dup2(screen_.get(), STDERR_FILENO);
    throw;
  }
}

Embedded::~Embedded() {
  io_.stop();
  thread_.join();
  ::dup2(screen_.get(), STDERR_FILENO);
}

void Embedded::serve(const MakeService& make_service, const Options& options) {
  bool told = false;
  try {
    const std::unique_ptr<Service> service = make_service(io_, options);
    const Server server(io_, *service, options.state_directory, false);
    begun_.set_value();
    told = true;
    io_.run();
  } catch (...) {
    if (told) {
      failure_ = std::current_exception();
    } else {
      begun_.set_exception(std::current_exception());
    }
  }
  over_ = true;
}

void Embedded::check() {
  if (over_ && failure_) std::rethrow_exception(failure_);
  if (over_) fail("the coordinator has ended; see coordinator.log");
}

}  // namespace talaria::coordinator
