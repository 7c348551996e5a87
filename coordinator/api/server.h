// SPDX-License-Identifier: Apache-2.0
// The API's server: HTTP/1.1 over the Unix socket of a state directory, on the thread of the
// coordinator's io_context. Who asks is what the kernel says of the socket's other end. Sizes,
// times and numbers are bounded, so that no client can hold up the coordinator or another client.
#pragma once

#include <filesystem>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "coordinator/api/service.h"

namespace talaria::coordinator {

struct ServerLimits {
  std::size_t header_bytes = 16 * 1024;
  std::size_t body_bytes = 1024 * 1024;
  double request_seconds = 30.0;  // to send a whole request, and to take its answer
  int connections = 512;          // of all users but root and the coordinator's own
  int connections_of_a_user = 256;
};

class Server {
 public:
  // Listens at once. `everyone`: all users may connect (socket mode 0666), else the coordinator's
  // own user and root (0600). `service` outlives the server.
  Server(boost::asio::io_context& io, Service& service,
         const std::filesystem::path& state_directory, bool everyone, ServerLimits limits = {});
  // Closes listener and connections.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  class Session;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace talaria::coordinator
