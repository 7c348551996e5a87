// SPDX-License-Identifier: Apache-2.0
#include "worker/coordinator_link.h"

#include <charconv>
#include <memory>
#include <string_view>
#include <vector>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::worker {
namespace {

// A link that was cut, or a machine that is gone, shows within about ten seconds.
constexpr int kIdleSeconds = 5;
constexpr int kProbeSeconds = 2;
constexpr int kProbes = 3;
constexpr int kUserTimeoutMilliseconds = 10'000;
// Beats that wait in the kernel grow stale: there shall be few.
constexpr int kSendBufferBytes = 16 * 1024;

struct HostAndPort {
  std::string host;
  std::string port;
};

HostAndPort split_address(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::string_view host = std::string_view(address).substr(0, colon);
  std::string_view port;
  if (colon != std::string::npos) port = std::string_view(address).substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  int number = 0;
  const auto [stopped, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (host.empty() || error != std::errc() || stopped != port.data() + port.size() || number < 1 ||
      number > 65535) {
    fail("{}: not of the form HOST:PORT", in_quotes(address));
  }
  return {std::string(host), std::string(port)};
}

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

AddressList look_up(const std::string& address) {
  const auto [host, port] = split_address(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (code == EAI_SYSTEM) fail_errno("getaddrinfo", address);
  if (code != 0) fail("getaddrinfo {}: {}", address, ::gai_strerror(code));
  return {found, &::freeaddrinfo};
}

void set_option(int fd, int level, int name, int value, const char* what) {
  check_sys(::setsockopt(fd, level, name, &value, sizeof value), "setsockopt", what);
}

void set_options(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE");
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds, "TCP_KEEPIDLE");
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds, "TCP_KEEPINTVL");
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes, "TCP_KEEPCNT");
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMilliseconds, "TCP_USER_TIMEOUT");
  set_option(fd, SOL_SOCKET, SO_SNDBUF, kSendBufferBytes, "SO_SNDBUF");
}

}  // namespace

CoordinatorLink::CoordinatorLink(const std::string& address, std::size_t turn) {
  const AddressList list = look_up(address);
  std::vector<const addrinfo*> found;
  for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) found.push_back(at);
  const addrinfo& peer = *found.at(turn % found.size());
  fd_.reset(check_sys(::socket(peer.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                      "socket", address));
  set_options(fd_.get());
  if (::connect(fd_.get(), peer.ai_addr, peer.ai_addrlen) == 0) {
    connected_ = true;
  } else if (errno != EINPROGRESS) {
    fail_errno("connect", address);
  }
}

short CoordinatorLink::events() const {
  const bool writes = !connected_ || !out_.empty();
  return static_cast<short>(writes ? POLLIN | POLLOUT : POLLIN);
}

void CoordinatorLink::advance() {
  if (!connected_) check_connected();
  if (!connected_) return;
  flush();
  receive();
}

void CoordinatorLink::check_connected() {
  pollfd ready = {fd_.get(), POLLOUT, 0};
  if (check_sys(::poll(&ready, 1, 0), "poll", "connect") == 0) return;
  int error = 0;
  socklen_t size = sizeof error;
  check_sys(::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt", "connect");
  if (error != 0) fail_errno("connect", "the coordinator", error);
  connected_ = true;
}

void CoordinatorLink::send(const wire::RankMessage& message) {
  TALARIA_CHECK(can_send());
  out_ = wire::encode_frame(message);
  flush();
}

void CoordinatorLink::flush() {
  while (!out_.empty()) {
    const ssize_t put = ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0) {
      out_.erase(0, static_cast<std::size_t>(put));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      lost_ = describe_errno("send", "to the coordinator", errno);
      out_.clear();
    }
  }
}

void CoordinatorLink::receive() {
  char buffer[4096];
  // At most so much a turn, whatever a peer floods us with.
  for (int turn = 0; turn < 16; ++turn) {
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) {
      reader_.append({buffer, static_cast<std::size_t>(got)});
    } else if (got == 0) {
      lost_ = "the coordinator closed the connection";
      return;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      lost_ = describe_errno("recv", "from the coordinator", errno);
      return;
    }
  }
}

std::optional<wire::RankMessage> CoordinatorLink::next() {
  const std::optional<std::string> body = reader_.next();
  if (!body && !lost_.empty()) fail("{}", lost_);
  if (!body) return std::nullopt;
  return wire::decode_body(*body);
}

void CoordinatorLink::end() { ::shutdown(fd_.get(), SHUT_WR); }

}  // namespace talaria::worker
