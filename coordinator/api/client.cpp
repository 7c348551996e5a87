// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/client.h"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <poll.h>
#include <sys/socket.h>

#include "cluster/base/clock.h"
#include "cluster/base/text.h"
#include "coordinator/api/socket.h"

namespace talaria::coordinator {
namespace {

namespace http = boost::beast::http;

constexpr std::uint64_t kMostAnswer = 256 << 20;
constexpr std::size_t kMostRequest = 1 << 20;  // the server's limit

// Waits until the socket can be read or written. Throws NoCoordinator at the deadline.
void wait_for(int fd, short events, double deadline) {
  while (true) {
    const double left = deadline - monotonic_seconds();
    if (left <= 0.0) throw NoCoordinator("the coordinator gives no answer in time");
    pollfd ready{fd, events, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(left * 1000.0) + 1);
    if (count > 0) return;
    if (count < 0 && errno != EINTR) fail_errno("poll", kSocketName);
  }
}

// Sends what the server takes: one that refuses a request early closes its end, and then only its
// answer counts.
void send_all(int fd, std::string_view text, double deadline) {
  while (!text.empty()) {
    const ssize_t put = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (put >= 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      wait_for(fd, POLLOUT, deadline);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return;
    } else if (errno != EINTR) {
      fail_errno("send", kSocketName);
    }
  }
}

using Parser = http::response_parser<http::string_body>;

void receive(int fd, Parser& parser, double deadline) {
  boost::beast::flat_buffer buffer;
  boost::system::error_code error;
  while (!parser.is_done()) {
    constexpr std::size_t kChunk = 1 << 16;
    const auto space = buffer.prepare(kChunk);
    const ssize_t got = ::recv(fd, space.data(), space.size(), 0);
    if (got < 0 && errno == EAGAIN) {
      wait_for(fd, POLLIN, deadline);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw NoCoordinator("the coordinator closed the connection before it answered");
    }
    buffer.commit(static_cast<std::size_t>(got));
    // put() takes the header, then parts of the body; it wants more bytes when it stays put.
    while (buffer.size() > 0 && !parser.is_done()) {
      const std::size_t used = parser.put(buffer.data(), error);
      buffer.consume(used);
      if (error == http::error::need_more) break;
      if (error) fail("the coordinator's answer is no HTTP: {}", error.message());
      if (used == 0) break;
    }
  }
}

}  // namespace

std::string Client::ask(const std::string& method, const std::string& target,
                        const std::string& body) const {
  const UniqueFd socket = connect_to_socket(directory_);
  if (!socket) {
    throw NoCoordinator(fmt::format("no coordinator answers at {}",
                                    in_quotes((directory_ / kSocketName).string())));
  }
  if (body.size() > kMostRequest) {
    fail_usage("the request has {} bytes; allowed: at most {}", body.size(), kMostRequest);
  }
  const double deadline = monotonic_seconds() + timeout_;
  send_all(socket.get(),
           fmt::format("{} {} HTTP/1.1\r\nHost: talaria\r\nConnection: close\r\nContent-Type: "
                       "application/json\r\nContent-Length: {}\r\n\r\n{}",
                       method, target, body.size(), body),
           deadline);
  Parser parser;
  parser.body_limit(kMostAnswer);
  parser.eager(true);
  receive(socket.get(), parser, deadline);
  const unsigned status = parser.get().result_int();
  std::string text = std::move(parser.get().body());
  if (status >= 200 && status < 300) return text;
  const std::string said = parse_error(text);
  throw Refusal(static_cast<int>(status),
                said.empty() ? fmt::format("the coordinator answers with status {}", status)
                             : one_line(said));
}

bool Client::answers() const {
  try {
    return version().api == 1;
  } catch (const NoCoordinator&) {
    return false;
  } catch (const Refusal&) {
    return false;
  }
}

Version Client::version() const { return parse_version(ask("GET", "/v1/version")); }

std::int64_t Client::submit(const SubmitRequest& request) const {
  return parse_id(ask("POST", "/v1/jobs", to_json(request)));
}

std::vector<JobView> Client::list(bool all) const {
  return parse_job_views(ask("GET", all ? "/v1/jobs?all=1" : "/v1/jobs"));
}

JobView Client::show(std::int64_t job) const {
  return parse_job_view(ask("GET", fmt::format("/v1/jobs/{}", job)));
}

void Client::wish(std::int64_t job, Wish wish, const std::string& reason) const {
  ask("POST", fmt::format("/v1/jobs/{}/{}", job, name(wish)), reason_json(reason));
}

void Client::retry(std::int64_t job) const { ask("POST", fmt::format("/v1/jobs/{}/retry", job)); }

}  // namespace talaria::coordinator
