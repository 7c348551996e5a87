// SPDX-License-Identifier: Apache-2.0
// The coordinator's end of the rank channel against good ranks and bad strangers.
#include "coordinator/supervisor/rank_listener.h"

#include <future>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::coordinator {
namespace {

using testing::ElementsAre;

// A client that sends bytes and collects what comes back.
class Client {
 public:
  explicit Client(std::uint16_t port)
      : fd_(check_sys(::socket(AF_INET, SOCK_STREAM, 0), "socket", "")) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check_sys(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
              "connect", "");
  }
  void send(const std::string& bytes) {
    static_cast<void>(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }
  // The next message, or nothing once the peer has closed or five seconds have passed.
  std::optional<wire::RankMessage> receive() {
    while (true) {
      if (auto body = frames_.next()) return wire::decode_body(*body);
      char buffer[512];
      pollfd ready{fd_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 5000) <= 0) return std::nullopt;
      const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) {
        closed_ = true;
        return std::nullopt;
      }
      frames_.append({buffer, static_cast<std::size_t>(got)});
    }
  }
  bool closed_by_peer() {
    while (receive()) {
    }
    return closed_;
  }

 private:
  UniqueFd fd_;
  wire::FrameReader frames_;
  bool closed_ = false;
};

class RankListenerTest : public testing::Test {
 protected:
  RankListenerTest() {
    RankListener::Handlers handlers;
    handlers.admit = [](const wire::Hello& hello) {
      return hello.secret == "secret" ? std::string() : std::string("wrong secret");
    };
    handlers.beat_seconds = [](const std::string&) { return 2.5; };
    handlers.joined = [this](const wire::Hello& hello) {
      heard_.push_back(fmt::format("joined {}", hello.rank));
    };
    handlers.said = [this](const std::string&, int rank, const wire::RankMessage& message) {
      if (const auto* beat = std::get_if<wire::Beat>(&message)) {
        heard_.push_back(fmt::format("{} at step {}", rank, beat->step));
      }
    };
    handlers.lost = [this](const std::string&, int rank) {
      heard_.push_back(fmt::format("lost {}", rank));
    };
    listener_ = std::make_unique<RankListener>(io_, "127.0.0.1", handlers);
    port_ = listener_->port();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~RankListenerTest() override { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    io_.stop();
    thread_.join();
    listener_.reset();
  }

  static std::string hello(int rank, const std::string& secret = "secret") {
    wire::Hello message;
    message.attempt_id = "j1-s0-x";
    message.secret = secret;
    message.rank = rank;
    message.world = 8;
    message.pid = 17;
    message.host = "node1";
    return wire::encode_frame(message);
  }
  static std::string beat(std::int64_t step) {
    wire::Beat message;
    message.step = step;
    return wire::encode_frame(message);
  }

  boost::asio::io_context io_;
  std::unique_ptr<RankListener> listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::vector<std::string> heard_;  // read after stop()
};

TEST_F(RankListenerTest, ARankJoinsSpeaksAndLeaves) {
  {
    Client rank(port_);
    rank.send(hello(3));
    const auto answer = rank.receive();
    ASSERT_TRUE(answer && std::holds_alternative<wire::Welcome>(*answer));
    EXPECT_DOUBLE_EQ(std::get<wire::Welcome>(*answer).beat_seconds, 2.5);
    // Cut and joined as a network may do it.
    const std::string two = beat(1) + beat(2);
    rank.send(two.substr(0, 7));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rank.send(two.substr(7));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  stop();
  EXPECT_THAT(heard_, ElementsAre("joined 3", "3 at step 1", "3 at step 2", "lost 3"));
}

TEST_F(RankListenerTest, TheRanksOfAnAttemptAreToldToStop) {
  Client rank(port_);
  rank.send(hello(0));
  ASSERT_TRUE(rank.receive());
  boost::asio::post(io_, [this] { listener_->stop("j1-s0-other"); });
  boost::asio::post(io_, [this] { listener_->stop("j1-s0-x"); });
  const auto told = rank.receive();
  EXPECT_TRUE(told && std::holds_alternative<wire::Stop>(*told));
}

TEST_F(RankListenerTest, AWrongSecretIsRefusedWithTheReason) {
  Client rank(port_);
  rank.send(hello(3, "guess"));
  const auto answer = rank.receive();
  ASSERT_TRUE(answer && std::holds_alternative<wire::Refused>(*answer));
  EXPECT_EQ(std::get<wire::Refused>(*answer).reason, "wrong secret");
  EXPECT_TRUE(rank.closed_by_peer());
  stop();
  EXPECT_TRUE(heard_.empty());
}

TEST_F(RankListenerTest, NonsenseIsDroppedAndOthersAreServed) {
  const std::vector<std::string> nonsense = {
      beat(1),                                // before hello
      std::string("GET / HTTP/1.1\r\n\r\n"),  // a length of 1.2 GB
      std::string("\0\0\0\0", 4),
      std::string("\0\0\0\x02{]", 6),
      std::string("\0\0\0\x04null", 8),
  };
  for (const std::string& bytes : nonsense) {
    Client stranger(port_);
    stranger.send(bytes);
    EXPECT_TRUE(stranger.closed_by_peer()) << testing::PrintToString(bytes);
  }
  Client rank(port_);
  rank.send(hello(0));
  const auto answer = rank.receive();
  EXPECT_TRUE(answer && std::holds_alternative<wire::Welcome>(*answer));
}

TEST(RankListenerAddress, ABadAddressIsNamed) {
  boost::asio::io_context io;
  try {
    const RankListener listener(io, "192.0.2.1", {});
    FAIL() << "192.0.2.1 is nobody's";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("192.0.2.1"));
  }
}

}  // namespace
}  // namespace talaria::coordinator
