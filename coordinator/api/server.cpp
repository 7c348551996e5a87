// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/server.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/log.h"
#include "coordinator/api/json.h"
#include "coordinator/api/routes.h"
#include "coordinator/api/socket.h"

namespace talaria::coordinator {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

struct Server::State : std::enable_shared_from_this<State> {
  State(asio::io_context& context, Service& serves, const std::filesystem::path& directory,
        bool all, ServerLimits most)
      : io(context),
        service(&serves),
        everyone(all),
        limits(most),
        acceptor(context, Local(), listen_on_socket(directory, all ? 0666 : 0600).release()),
        pause(context) {}

  void accept();
  void admit(Local::socket socket);
  void close();
  // Root, and whom the coordinator runs as: nobody to be protected from.
  static bool trusted(const User& user) { return user.uid == 0 || user.uid == ::geteuid(); }

  struct Client {
    int connections = 0;
    double free_at = 0.0;  // monotonic; its next request is not answered before
  };

  asio::io_context& io;
  Service* service;  // null once the server is gone
  bool everyone;
  ServerLimits limits;
  Local::acceptor acceptor;
  asio::steady_timer pause;  // after accept(2) failed
  std::map<uid_t, Client> clients;
  int connections = 0;  // of clients that are not trusted
  std::set<Session*> sessions;
};

namespace {

std::chrono::nanoseconds nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

}  // namespace

// One connection: reads a request, answers it, reads the next. Lives as long as an operation of it
// is pending.
class Server::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<Server::State> server, Local::socket socket, const User& user)
      : server_(std::move(server)),
        stream_(std::move(socket)),
        turn_(server_->io),
        user_(user),
        trusted_(Server::State::trusted(user)) {
    server_->sessions.insert(this);
    ++server_->clients[user_.uid].connections;
    if (!trusted_) ++server_->connections;
  }
  ~Session() {
    server_->sessions.erase(this);
    if (!trusted_) --server_->connections;
    // What the user has used up is forgotten only when that no longer matters.
    const auto at = server_->clients.find(user_.uid);
    if (--at->second.connections == 0 && at->second.free_at <= monotonic_seconds()) {
      server_->clients.erase(at);
    }
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(server_->limits.header_bytes));
    parser_->body_limit(server_->limits.body_bytes);
    limit_time();
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_read(error); });
  }

  void refuse(int status, const std::string& text) {
    keep_alive_ = false;
    respond({status, error_json(text), ""});
  }

  void close() {
    error_code ignored;
    turn_.cancel();
    stream_.socket().close(ignored);
  }

 private:
  void limit_time() { stream_.expires_after(nanoseconds(server_->limits.request_seconds)); }

  void on_read(error_code error) {
    if (!error) return take_turn();
    if (error == http::error::body_limit) {
      return refuse(413,
                    fmt::format("the body is larger than {} bytes", server_->limits.body_bytes));
    }
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return refuse(
          413, fmt::format("the header is larger than {} bytes", server_->limits.header_bytes));
    }
    const bool gone = error == http::error::end_of_stream || error == http::error::partial_message;
    const bool garbage =
        error.category() == http::make_error_code(http::error::bad_method).category();
    if (garbage && !gone) refuse(400, "no HTTP request: " + error.message());
  }

  // A user who is not trusted gets at most half of the thread: after a request that took t seconds,
  // the next waits t.
  void take_turn() {
    if (server_->service == nullptr) return;
    const double wait = trusted_ ? 0.0 : server_->clients[user_.uid].free_at - monotonic_seconds();
    if (wait <= 0.0) return serve();
    turn_.expires_after(nanoseconds(wait));
    turn_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->take_turn();
    });
  }

  void serve() {
    auto& message = parser_->get();
    keep_alive_ = message.keep_alive();
    const double start = monotonic_seconds();
    ApiResponse response = answer(
        *server_->service, {std::string(message.method_string()), std::string(message.target()),
                            std::move(message.body()), user_});
    const double now = monotonic_seconds();
    server_->clients[user_.uid].free_at = now + (now - start);
    respond(std::move(response));
  }

  void respond(ApiResponse response) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(response.status));
    response_.set(http::field::content_type, "application/json");
    if (!response.allow.empty()) response_.set(http::field::allow, response.allow);
    response_.keep_alive(keep_alive_);
    response_.body() = std::move(response.body) + "\n";
    response_.prepare_payload();
    limit_time();
    http::async_write(
        stream_, response_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_written(error); });
  }

  void on_written(error_code error) {
    if (error) return;
    if (keep_alive_ && server_->service != nullptr) return read();
    error_code ignored;
    stream_.socket().shutdown(Local::socket::shutdown_both, ignored);
  }

  std::shared_ptr<Server::State> server_;
  beast::basic_stream<Local> stream_;
  asio::steady_timer turn_;
  User user_;
  bool trusted_;
  bool keep_alive_ = false;
  beast::flat_buffer buffer_{64 * 1024};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

void Server::State::accept() {
  acceptor.async_accept([self = shared_from_this()](error_code error, Local::socket socket) {
    if (!self->acceptor.is_open()) return;
    if (!error) {
      self->admit(std::move(socket));
      return self->accept();
    }
    log_warning("api.sock: accept: {}", error.message());
    self->pause.expires_after(std::chrono::milliseconds(200));
    self->pause.async_wait([self](error_code stopped) {
      if (!stopped) self->accept();
    });
  });
}

void Server::State::admit(Local::socket socket) {
  const User user = peer_of(socket.native_handle());
  const auto client = clients.find(user.uid);
  const int held = client == clients.end() ? 0 : client->second.connections;
  const bool crowded =
      !trusted(user) && (connections >= limits.connections || held >= limits.connections_of_a_user);
  if (crowded) {
    // One attempt to say so, then it is closed: a refused connection costs nothing that lasts.
    const std::string body = error_json("too many connections; close some, or try again");
    const std::string text = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: "
        "application/json\r\nContent-Length: {}\r\n\r\n{}",
        body.size(), body);
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    return;
  }
  const auto session = std::make_shared<Session>(shared_from_this(), std::move(socket), user);
  if (everyone || trusted(user)) return session->read();
  session->refuse(403, "this coordinator serves another user");
}

void Server::State::close() {
  service = nullptr;
  error_code ignored;
  acceptor.close(ignored);
  pause.cancel();
  for (Session* session : sessions) session->close();
}

Server::Server(asio::io_context& io, Service& service, const std::filesystem::path& state_directory,
               bool everyone, ServerLimits limits)
    : state_(std::make_shared<State>(io, service, state_directory, everyone, limits)) {
  state_->accept();
}

Server::~Server() { state_->close(); }

}  // namespace talaria::coordinator
