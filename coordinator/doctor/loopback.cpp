// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::doctor {
namespace {

constexpr int kWaitMilliseconds = 2000;

// Waits until the descriptor is ready for `events`.
void await(int fd, short events, const char* what) {
  pollfd ready = {fd, events, 0};
  const int count = check_sys(::poll(&ready, 1, kWaitMilliseconds), "poll", what);
  if (count == 0) fail("{}: nothing within {} s", what, kWaitMilliseconds / 1000);
}

void reach_own_port() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* where = reinterpret_cast<sockaddr*>(&address);
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const UniqueFd listener(check_sys(::socket(AF_INET, kType, 0), "socket", "TCP"));
  check_sys(::bind(listener.get(), where, length), "bind", "127.0.0.1");
  check_sys(::listen(listener.get(), 1), "listen", "127.0.0.1");
  check_sys(::getsockname(listener.get(), where, &length), "getsockname", "127.0.0.1");
  const UniqueFd client(check_sys(::socket(AF_INET, kType, 0), "socket", "TCP"));
  if (::connect(client.get(), where, length) != 0 && errno != EINPROGRESS) {
    fail_errno("connect", "127.0.0.1");
  }
  await(listener.get(), POLLIN, "accept on 127.0.0.1");
  const UniqueFd accepted(
      check_sys(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept", "127.0.0.1"));
}

}  // namespace

std::string try_loopback() {
  try {
    reach_own_port();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace talaria::doctor
