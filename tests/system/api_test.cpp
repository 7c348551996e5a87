// SPDX-License-Identifier: Apache-2.0
// The API's server on a real socket, against users who are strangers, slow, greedy or hostile. The
// server is a process of its own over a pretended coordinator.
#include <csignal>
#include <filesystem>
#include <functional>

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/file.h"
#include "coordinator/api/client.h"
#include "coordinator/api/server.h"
#include "coordinator/api/socket.h"
#include "tests/support/fake_service.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

constexpr uid_t kStranger = 65534;

// Runs `work` in a child process; the exit code is what it returns, 99 when it throws.
pid_t in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::alarm(60);
  int code = 99;
  try {
    code = work();
  } catch (const std::exception& error) {
    const std::string text = std::string("child: ") + error.what() + "\n";
    [[maybe_unused]] const ssize_t put = ::write(STDERR_FILENO, text.data(), text.size());
  }
  ::_exit(code);
}

int wait_for_child(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The same as another user.
int as_stranger(const std::function<int()>& work) {
  return wait_for_child(in_child([&] {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(kStranger, kStranger, kStranger) != 0 ||
        ::setresuid(kStranger, kStranger, kStranger) != 0) {
      return 98;
    }
    return work();
  }));
}

// The HTTP status that the coordinator refuses with; 200: it does not.
int status_of(const std::function<void()>& request) {
  try {
    request();
    return 200;
  } catch (const Refusal& refusal) {
    return refusal.status;
  }
}

class Api : public testing::Test {
 protected:
  Api() {
    std::string name = (fs::temp_directory_path() / "talaria_api_XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    ::chmod(base_.c_str(), 0711);
    folder_ = base_;
  }
  ~Api() override {
    stop();
    fs::remove_all(base_);
  }

  void serve(bool everyone, ServerLimits limits = {}, double seconds_a_request = 0.0) {
    server_ = in_child([&] {
      ::alarm(0);
      boost::asio::io_context io;
      FakeService service;
      service.seconds_a_request = seconds_a_request;
      const Server server(io, service, folder_, everyone, limits);
      io.run();
      return 0;
    });
    const double deadline = monotonic_seconds() + 10.0;
    while (!Client(folder_).answers() && monotonic_seconds() < deadline) ::usleep(2000);
  }
  void stop() {
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);
    wait_for_child(std::exchange(server_, 0));
  }

  SubmitRequest request(const std::string& run) const {
    return {"[job]\n", "a.toml", "/runs/" + run, "/"};
  }

  UniqueFd connect() const {
    UniqueFd fd = connect_to_socket(folder_);
    EXPECT_TRUE(static_cast<bool>(fd));
    return fd;
  }
  // All that the server says until it closes, or until `enough` is in it.
  static std::string hear(int fd, const std::string& enough = "", double seconds = 10.0) {
    std::string text;
    const double deadline = monotonic_seconds() + seconds;
    char buffer[65536];
    while (monotonic_seconds() < deadline) {
      pollfd ready{fd, POLLIN, 0};
      if (::poll(&ready, 1, 50) <= 0) continue;
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
      if (!enough.empty() && text.find(enough) != std::string::npos) return text;
    }
    return text + "(no end)";
  }
  // What is taken of it: a server that refuses closes.
  static void say(int fd, std::string_view text) {
    const double deadline = monotonic_seconds() + 10.0;
    while (!text.empty() && monotonic_seconds() < deadline) {
      const ssize_t put = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (put < 0 && errno != EAGAIN) return;
      if (put < 0) ::usleep(1000);
      if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
    }
  }
  std::string exchange(const std::string& text) const {
    const UniqueFd fd = connect();
    say(fd.get(), text);
    return hear(fd.get());
  }

  fs::path base_;
  fs::path folder_;
  pid_t server_ = 0;
};

TEST_F(Api, JobsBelongToWhomTheKernelNames) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  serve(true);
  const Client client(folder_);
  EXPECT_EQ(client.submit(request("root")), 1);
  EXPECT_EQ(as_stranger([&] {
              if (client.submit(request("stranger")) != 2) return 1;
              const std::vector<JobView> mine = client.list(true);
              if (mine.size() != 1 || mine[0].job.uid != kStranger) return 2;
              if (client.show(2).job.run_directory != "/runs/stranger") return 3;
              if (status_of([&] { client.show(1); }) != 404) return 4;
              for (const Wish wish : {Wish::kStop, Wish::kCancel, Wish::kKill}) {
                if (status_of([&] { client.wish(1, wish, ""); }) != 404) return 5;
              }
              if (status_of([&] { client.retry(1); }) != 404) return 6;
              client.wish(2, Wish::kStop, "mine");
              return 0;
            }),
            0);
  EXPECT_EQ(client.list(true).size(), 2U);
  EXPECT_EQ(client.show(1).job.wish, Wish::kRun);
  EXPECT_EQ(client.show(2).job.wish, Wish::kStop);
  client.wish(2, Wish::kKill, "root may");
}

TEST_F(Api, APrivateSocketServesItsUserAndRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  serve(false);
  struct stat info {};
  ASSERT_EQ(::stat((folder_ / kSocketName).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  EXPECT_EQ(Client(folder_).submit(request("root")), 1);
  EXPECT_EQ(as_stranger([&] { return Client(folder_).answers() ? 1 : 0; }), 0);
  // A socket that somebody has opened up still serves nobody else.
  ::chmod((folder_ / kSocketName).c_str(), 0666);
  EXPECT_EQ(
      as_stranger([&] { return status_of([&] { Client(folder_).list(true); }) == 403 ? 0 : 1; }),
      0);
}

TEST_F(Api, AStrangersOwnCoordinatorServesRootToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  ::chown(folder_.c_str(), kStranger, kStranger);
  server_ = in_child([&] {
    if (::setresgid(kStranger, kStranger, kStranger) != 0 ||
        ::setresuid(kStranger, kStranger, kStranger) != 0) {
      return 98;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    boost::asio::io_context io;
    FakeService service;
    const Server server(io, service, folder_, false);
    io.run();
    return 0;
  });
  const double deadline = monotonic_seconds() + 10.0;
  while (!Client(folder_).answers() && monotonic_seconds() < deadline) ::usleep(2000);
  EXPECT_TRUE(Client(folder_).answers());
  EXPECT_EQ(as_stranger([&] { return Client(folder_).answers() ? 0 : 1; }), 0);
}

TEST_F(Api, LongPathsAndStaleSockets) {
  for (int i = 0; i < 10; ++i) folder_ /= std::string(40, 'd');
  fs::create_directories(folder_);
  serve(true);
  EXPECT_EQ(Client(folder_).submit(request("a")), 1);
  stop();
  EXPECT_TRUE(fs::exists(folder_ / kSocketName));
  EXPECT_FALSE(Client(folder_).answers());
  EXPECT_THROW(Client(folder_).list(false), NoCoordinator);
  serve(true);
  EXPECT_EQ(Client(folder_).list(true).size(), 0U);
  EXPECT_FALSE(Client(folder_ / "nowhere").answers());
  EXPECT_FALSE(Client(fs::path("/dev/null")).answers());
}

TEST_F(Api, AFileInTheSocketsPlaceIsReplaced) {
  write_file_atomic(folder_ / kSocketName, "not a socket");
  EXPECT_FALSE(Client(folder_).answers());
  serve(true);
  EXPECT_TRUE(Client(folder_).answers());
}

TEST_F(Api, OversizedRequestsAreRefused) {
  serve(true);
  EXPECT_THAT(exchange("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(exchange("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
                       std::string("200000\r\n") + std::string(0x200000, 'x') + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(exchange("GET /v1/jobs HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(exchange("GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THROW(Client(folder_).submit({std::string(2 << 20, 'x'), "a", "/a", "/"}), UsageError);
  EXPECT_TRUE(Client(folder_).answers());
}

TEST_F(Api, GarbageIsRefusedInOneLine) {
  serve(true);
  const std::string all_bytes = [] {
    std::string text;
    for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
    return text;
  }();
  for (const std::string& text :
       {all_bytes, std::string("hello\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("GET /v1/jobs HTTP/9.9\r\n\r\n"),
        std::string("\x16\x03\x01\x02garbage\r\n\r\n"),
        std::string("POST /v1/jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
        std::string(
            "POST /v1/jobs HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")}) {
    const std::string said = exchange(text);
    EXPECT_THAT(said, StartsWith("HTTP/1.1 400")) << text;
    EXPECT_THAT(said, HasSubstr("{\"error\":\""));
  }
  EXPECT_THAT(exchange("GET /v1/jobs HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(exchange("DELETE /v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n"),
              HasSubstr("Allow: GET, POST"));
  EXPECT_TRUE(Client(folder_).answers());
}

TEST_F(Api, PipelinedRequestsAreAnsweredInOrder) {
  serve(true);
  std::string many;
  for (int i = 1; i <= 20; ++i) {
    many += fmt::format("GET /v1/jobs/{} HTTP/1.1\r\nHost: x\r\n\r\n", i);
  }
  many += "GET /v1/version HTTP/1.1\r\nConnection: close\r\n\r\n";
  const std::string said = exchange(many);
  std::size_t at = 0;
  for (int i = 1; i <= 20; ++i) {
    at = said.find(fmt::format("job {}: there is none", i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_NE(said.find("\"version\":", at), std::string::npos);
}

TEST_F(Api, SlowClientsAreSentAway) {
  ServerLimits limits;
  limits.request_seconds = 0.6;
  serve(true, limits);
  std::vector<UniqueFd> slow;
  slow.reserve(50);
  for (int i = 0; i < 50; ++i) slow.push_back(connect());
  const std::string request = "GET /v1/jobs HTTP/1.1\r\nHost: x\r\n";
  const double start = monotonic_seconds();
  double worst = 0.0;
  for (const char c : request) {
    for (const UniqueFd& fd : slow) {
      [[maybe_unused]] const ssize_t put = ::send(fd.get(), &c, 1, MSG_NOSIGNAL);
    }
    const double asked = monotonic_seconds();
    EXPECT_TRUE(Client(folder_).answers());
    worst = std::max(worst, monotonic_seconds() - asked);
    ::usleep(30'000);
  }
  EXPECT_GT(monotonic_seconds() - start, 0.6);
  EXPECT_LT(worst, 0.5);
  for (const UniqueFd& fd : slow) EXPECT_EQ(hear(fd.get(), "", 2.0), "");
}

TEST_F(Api, ManyConnectionsAtOnce) {
  serve(true);
  std::vector<UniqueFd> many;
  many.reserve(200);
  for (int i = 0; i < 200; ++i) many.push_back(connect());
  for (const UniqueFd& fd : many) say(fd.get(), "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n");
  for (const UniqueFd& fd : many) {
    EXPECT_THAT(hear(fd.get(), "}\n"), StartsWith("HTTP/1.1 200"));
  }
  // They are kept open; each may ask again.
  say(many[100].get(), "GET /v1/version HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(hear(many[100].get()), HasSubstr("HTTP/1.1 200"));
}

TEST_F(Api, AUserMayNotTakeAllConnections) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  serve(true);
  EXPECT_EQ(as_stranger([&] {
              std::vector<UniqueFd> many;
              for (int i = 0; i < 256; ++i) {
                many.push_back(connect_to_socket(folder_));
                if (!many.back()) return 1;
              }
              const UniqueFd one_more = connect_to_socket(folder_);
              if (!hear(one_more.get()).starts_with("HTTP/1.1 503")) return 2;
              if (status_of([&] { Client(folder_).list(false); }) != 503) return 3;
              many.pop_back();
              const double deadline = monotonic_seconds() + 5.0;
              while (monotonic_seconds() < deadline) {
                if (Client(folder_).answers()) return 0;
              }
              return 4;
            }),
            0);
  EXPECT_TRUE(Client(folder_).answers());
}

TEST_F(Api, AUserWhoAsksWithoutEndLeavesTimeToOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  serve(true, {}, 0.02);
  std::vector<pid_t> greedy;
  greedy.reserve(8);
  for (int i = 0; i < 8; ++i) {
    greedy.push_back(in_child([&] {
      if (::setresuid(kStranger, kStranger, kStranger) != 0) return 98;
      while (true) Client(folder_).list(true);
    }));
  }
  ::usleep(300'000);
  // Without their limit eight would leave a ninth of the thread; with it, half of it.
  const double start = monotonic_seconds();
  constexpr int kRequests = 20;
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(Client(folder_).list(true).size(), 0U);
  const double seconds = monotonic_seconds() - start;
  for (const pid_t child : greedy) {
    ::kill(child, SIGKILL);
    wait_for_child(child);
  }
  EXPECT_LT(seconds, kRequests * 0.02 * 6.0);
}

TEST_F(Api, TheClientTrustsNoServer) {
  const struct {
    const char* says;
    bool closes;
  } cases[] = {{"", true},
               {"", false},
               {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", true},
               {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", false},
               {"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", false},
               {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", true},
               {"\x1b[2J garbage \r\n\r\n", false},
               {"HTTP/1.1 500 x\r\nContent-Length: 4\r\n\r\n\x1b[2J", true}};
  for (const auto& each : cases) {
    const UniqueFd listener = listen_on_socket(folder_, 0600);
    const pid_t child = in_child([&] {
      pollfd ready{listener.get(), POLLIN, 0};
      ::poll(&ready, 1, 5000);
      const UniqueFd fd(::accept(listener.get(), nullptr, nullptr));
      hear(fd.get(), "\r\n\r\n");
      say(fd.get(), each.says);
      if (!each.closes) ::pause();
      return 0;
    });
    const double start = monotonic_seconds();
    try {
      Client(folder_, 0.5).list(false);
      ADD_FAILURE() << each.says;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos) << error.what();
    }
    EXPECT_LT(monotonic_seconds() - start, 3.0);
    ::kill(child, SIGKILL);
    wait_for_child(child);
  }
}

}  // namespace
}  // namespace talaria::coordinator
