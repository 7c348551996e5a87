// SPDX-License-Identifier: Apache-2.0
#include "tests/support/simulated_ranks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/wire/rank_message.h"

namespace talaria::testing_support {
namespace {

constexpr int kWelcomeMilliseconds = 30'000;

UniqueFd connect_to(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd fd(check_sys(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket", "TCP"));
  check_sys(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            "connect", fmt::format("127.0.0.1:{}", port));
  return fd;
}

void send(const UniqueFd& fd, const wire::RankMessage& message) {
  const std::string frame = wire::encode_frame(message);
  write_all(fd.get(), std::as_bytes(std::span(frame)), "rank channel");
}

void expect_welcome(const UniqueFd& fd, int rank) {
  wire::FrameReader reader;
  while (true) {
    pollfd ready = {fd.get(), POLLIN, 0};
    if (check_sys(::poll(&ready, 1, kWelcomeMilliseconds), "poll", "rank channel") == 0) {
      fail("rank {}: no answer", rank);
    }
    char buffer[4096];
    const ssize_t got = check_sys(::read(fd.get(), buffer, sizeof buffer), "read", "rank channel");
    if (got == 0) fail("rank {}: the connection was closed", rank);
    reader.append({buffer, static_cast<std::size_t>(got)});
    const auto body = reader.next();
    if (!body) continue;
    if (!std::holds_alternative<wire::Welcome>(wire::decode_body(*body))) {
      fail("rank {}: not welcome: {}", rank, *body);
    }
    return;
  }
}

void sleep_until(double moment) {
  const double left = moment - monotonic_seconds();
  if (left <= 0.0) return;
  timespec time{};
  time.tv_sec = static_cast<time_t>(left);
  time.tv_nsec = static_cast<long>((left - static_cast<double>(time.tv_sec)) * 1e9);
  ::nanosleep(&time, nullptr);
}

}  // namespace

SimulatedRanks::SimulatedRanks(std::uint16_t port, const std::string& attempt_id,
                               const std::string& secret, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    connections_.push_back(connect_to(port));
    send(connections_.back(), wire::Hello{attempt_id, secret, rank, ranks, 100'000 + rank,
                                          fmt::format("node{}", rank / 8)});
  }
  for (int rank = 0; rank < ranks; ++rank) {
    expect_welcome(connections_[static_cast<std::size_t>(rank)], rank);
  }
}

std::int64_t SimulatedRanks::beat(double interval, double seconds) {
  const std::int64_t before = beats_;
  const double step = interval / static_cast<double>(connections_.size());
  const double start = monotonic_seconds();
  for (double due = start; due < start + seconds; due += step) {
    sleep_until(due);
    const std::size_t rank = static_cast<std::size_t>(beats_) % connections_.size();
    const std::int64_t round = beats_ / static_cast<std::int64_t>(connections_.size());
    wire::Beat beat;
    beat.step = round + 1;
    beat.steps = 1'000'000;
    beat.phase = wire::Phase::kStep;
    beat.phase_seconds = 0.1;
    beat.loss = 3.25 + 1e-3 * static_cast<double>(rank);
    beat.tokens_per_second = 1e6;
    beat.mfu = 0.4;
    beat.rss_bytes = std::int64_t{1} << 30;
    send(connections_[rank], beat);
    ++beats_;
  }
  return beats_ - before;
}

}  // namespace talaria::testing_support
