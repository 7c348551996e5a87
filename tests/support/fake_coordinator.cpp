// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_coordinator.h"

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria {

struct FakeCoordinator::State {
  struct Peer {
    UniqueFd fd;
    wire::FrameReader reader;
    bool deaf = false;
    bool gone = false;
  };

  Manner manner = Manner::kWelcome;
  double beat_seconds = 0.05;
  UniqueFd listener;
  mutable std::mutex mutex;
  std::vector<Peer> peers;  // by connection
  std::vector<Heard> heard;
  std::atomic<bool> quit = false;
  std::thread thread;

  void run();
  void turn();
  void read(int connection, Peer& peer);
  void answer(Peer& peer);
  static void say(Peer& peer, const std::string& bytes) {
    if (::send(peer.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) peer.gone = true;
  }
};

void FakeCoordinator::State::answer(Peer& peer) {
  switch (manner) {
    case Manner::kDeaf:
      peer.deaf = true;
      [[fallthrough]];
    case Manner::kWelcome:
      return say(peer, wire::encode_frame(wire::Welcome{beat_seconds}));
    case Manner::kRefuse:
      say(peer, wire::encode_frame(wire::Refused{"this attempt has ended"}));
      peer.gone = true;
      return;
    case Manner::kRaving:
      return say(peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    case Manner::kMute:
      return;
  }
}

void FakeCoordinator::State::read(int connection, Peer& peer) {
  char buffer[4096];
  const ssize_t got = ::recv(peer.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN)) peer.gone = true;
  if (got <= 0) return;
  peer.reader.append({buffer, static_cast<std::size_t>(got)});
  while (const auto body = peer.reader.next()) {
    heard.push_back({monotonic_seconds(), connection, wire::decode_body(*body)});
    const wire::RankMessage& message = heard.back().message;
    if (std::holds_alternative<wire::Hello>(message)) answer(peer);
    if (std::holds_alternative<wire::Bye>(message)) peer.gone = true;
  }
}

void FakeCoordinator::State::turn() {
  std::vector<pollfd> ready = {{listener.get(), POLLIN, 0}};
  std::vector<int> owners = {-1};
  {
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < peers.size(); ++i) {
      if (!peers[i].fd || peers[i].deaf || manner == Manner::kMute) continue;
      ready.push_back({peers[i].fd.get(), POLLIN, 0});
      owners.push_back(static_cast<int>(i));
    }
  }
  ::poll(ready.data(), ready.size(), 10);
  const std::lock_guard lock(mutex);
  for (std::size_t i = 1; i < ready.size(); ++i) {
    Peer& peer = peers[static_cast<std::size_t>(owners[i])];
    if (ready[i].revents != 0) read(owners[i], peer);
    if (peer.gone) peer.fd.reset();
  }
  if (ready[0].revents == 0) return;
  UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (fd) peers.push_back({std::move(fd), {}, false, false});
}

void FakeCoordinator::State::run() {
  while (!quit) turn();
}

FakeCoordinator::FakeCoordinator(const std::filesystem::path& attempt_folder, Manner manner,
                                 double beat_seconds)
    : state_(std::make_unique<State>()) {
  state_->manner = manner;
  state_->beat_seconds = beat_seconds;
  state_->listener.reset(
      check_sys(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket", "coordinator"));
  // What nobody reads shall soon fill the peer's side.
  const int bytes = 4096;
  check_sys(::setsockopt(state_->listener.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes),
            "setsockopt", "SO_RCVBUF");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  check_sys(::bind(state_->listener.get(), generic, size), "bind", "coordinator");
  check_sys(::listen(state_->listener.get(), 64), "listen", "coordinator");
  check_sys(::getsockname(state_->listener.get(), generic, &size), "getsockname", "coordinator");
  write_file_atomic(attempt_folder / "secret", std::string(kSecret) + "\n");
  write_file_atomic(attempt_folder / "channel",
                    fmt::format("127.0.0.1:{}\n", ntohs(address.sin_port)));
  state_->thread = std::thread([this] { state_->run(); });
}

FakeCoordinator::~FakeCoordinator() {
  state_->quit = true;
  state_->thread.join();
}

void FakeCoordinator::send_stop() {
  const std::lock_guard lock(state_->mutex);
  for (State::Peer& peer : state_->peers) {
    if (peer.fd) State::say(peer, wire::encode_frame(wire::Stop{}));
  }
}

std::vector<Heard> FakeCoordinator::heard() const {
  const std::lock_guard lock(state_->mutex);
  return state_->heard;
}

int FakeCoordinator::connections() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<int>(state_->peers.size());
}

bool FakeCoordinator::wait(double seconds,
                           const std::function<bool(const std::vector<Heard>&)>& done) const {
  const double deadline = monotonic_seconds() + seconds;
  while (!done(heard())) {
    if (monotonic_seconds() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace talaria
