// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/rank_listener.h"

#include <array>
#include <chrono>
#include <deque>
#include <set>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "cluster/base/error.h"

namespace talaria::coordinator {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

// A stranger has this long to say hello, and so many may wait to say it.
constexpr auto kHelloTime = std::chrono::seconds(10);
constexpr std::size_t kMostStrangers = 4096;

}  // namespace

struct RankListener::State : std::enable_shared_from_this<RankListener::State> {
  class Session;

  State(asio::io_context& io, Handlers given) : acceptor(io), handlers(std::move(given)) {}
  void accept();

  tcp::acceptor acceptor;
  Handlers handlers;
  std::set<std::shared_ptr<Session>> sessions;
  std::size_t strangers = 0;
};

// One connection: reads frames until the peer leaves.
class RankListener::State::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<State> owner)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), owner_(std::move(owner)) {}

  void start() {
    boost::system::error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    ++owner_->strangers;
    timer_.expires_after(kHelloTime);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->close();
    });
    read();
  }

  void close() {
    if (closed_) return;
    closed_ = true;
    boost::system::error_code ignored;
    timer_.cancel();
    socket_.close(ignored);
    const auto self = shared_from_this();
    owner_->sessions.erase(self);
    if (!joined_) {
      --owner_->strangers;
    } else {
      owner_->handlers.lost(attempt_id_, rank_);
    }
  }

  void stop(const std::string& attempt_id) {
    if (joined_ && !closed_ && attempt_id_ == attempt_id) write(wire::encode_frame(wire::Stop{}));
  }

 private:
  void read() {
    socket_.async_read_some(
        asio::buffer(bytes_),
        [self = shared_from_this()](const boost::system::error_code& error, std::size_t count) {
          if (error || self->closed_) return self->close();
          try {
            self->frames_.append({self->bytes_.data(), count});
            while (auto body = self->frames_.next()) self->take(wire::decode_body(*body));
          } catch (const Error&) {
            return self->close();  // not one of ours
          }
          if (!self->closed_ && !self->leaving_) self->read();
        });
  }

  void take(const wire::RankMessage& message) {
    if (closed_ || leaving_) return;
    if (joined_) {
      owner_->handlers.said(attempt_id_, rank_, message);
      return;
    }
    const auto* hello = std::get_if<wire::Hello>(&message);
    if (hello == nullptr) fail("the first message is not hello");
    const std::string objection = owner_->handlers.admit(*hello);
    if (!objection.empty()) {
      leaving_ = true;
      write(wire::encode_frame(wire::Refused{objection}));
      return;
    }
    timer_.cancel();
    --owner_->strangers;
    joined_ = true;
    attempt_id_ = hello->attempt_id;
    rank_ = hello->rank;
    write(wire::encode_frame(wire::Welcome{owner_->handlers.beat_seconds(attempt_id_)}));
    owner_->handlers.joined(*hello);
  }

  void write(std::string frame) {
    auto text = std::make_shared<std::string>(std::move(frame));
    asio::async_write(
        socket_, asio::buffer(*text),
        [self = shared_from_this(), text](const boost::system::error_code& error, std::size_t) {
          if (error || self->leaving_) self->close();
        });
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  std::shared_ptr<State> owner_;
  std::array<char, 4096> bytes_{};
  wire::FrameReader frames_;
  bool joined_ = false;
  bool leaving_ = false;
  bool closed_ = false;
  std::string attempt_id_;
  int rank_ = 0;
};

void RankListener::State::accept() {
  acceptor.async_accept(
      [self = shared_from_this()](const boost::system::error_code& error, tcp::socket socket) {
        if (error == asio::error::operation_aborted || !self->acceptor.is_open()) return;
        if (!error && self->strangers < kMostStrangers) {
          auto session = std::make_shared<Session>(std::move(socket), self);
          self->sessions.insert(session);
          session->start();
        } else if (error) {
          // Out of descriptors: try again a little later instead of at once.
          auto timer = std::make_shared<asio::steady_timer>(self->acceptor.get_executor(),
                                                            std::chrono::milliseconds(200));
          timer->async_wait([self, timer](const boost::system::error_code&) { self->accept(); });
          return;
        }
        self->accept();
      });
}

RankListener::RankListener(asio::io_context& io, const std::string& address, Handlers handlers)
    : state_(std::make_shared<State>(io, std::move(handlers))) {
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(address), 0);
    state_->acceptor.open(endpoint.protocol());
    state_->acceptor.bind(endpoint);
    state_->acceptor.listen(1024);
  } catch (const boost::system::system_error& error) {
    fail("listen for ranks on {}: {}", address, error.what());
  }
  state_->accept();
}

RankListener::~RankListener() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->handlers.lost = [](const std::string&, int) {};
  while (!state_->sessions.empty()) {
    const std::shared_ptr<State::Session> session = *state_->sessions.begin();
    session->close();
  }
}

void RankListener::stop(const std::string& attempt_id) {
  for (const auto& session : state_->sessions) session->stop(attempt_id);
}

std::uint16_t RankListener::port() const { return state_->acceptor.local_endpoint().port(); }

}  // namespace talaria::coordinator
