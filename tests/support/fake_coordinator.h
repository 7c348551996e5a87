// SPDX-License-Identifier: Apache-2.0
// A coordinator's end of the rank channel, for tests of ranks: a thread with a listening socket
// that answers every hello in one way and remembers what it heard.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/wire/rank_message.h"

namespace talaria {

// One message as it came.
struct Heard {
  double time = 0.0;   // monotonic_seconds()
  int connection = 0;  // counted from 0
  wire::RankMessage message;
};

class FakeCoordinator {
 public:
  enum class Manner {
    kWelcome,  // answers a hello with welcome
    kRefuse,   // with refused
    kMute,     // accepts connections and neither reads nor writes
    kDeaf,     // welcomes and then reads no more
    kRaving,   // answers with bytes that are no message
  };
  // Listens on a port of its own and writes `channel` and `secret` into the folder.
  FakeCoordinator(const std::filesystem::path& attempt_folder, Manner manner,
                  double beat_seconds = 0.05);
  // Closes every connection and the port.
  ~FakeCoordinator();
  FakeCoordinator(const FakeCoordinator&) = delete;
  FakeCoordinator& operator=(const FakeCoordinator&) = delete;

  // Asks every rank that is connected now to stop.
  void send_stop();
  std::vector<Heard> heard() const;
  int connections() const;  // accepted so far
  // Waits until `done` holds for what was heard; false after `seconds`.
  bool wait(double seconds, const std::function<bool(const std::vector<Heard>&)>& done) const;

  static constexpr const char* kSecret = "0123456789abcdef";

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The messages of one kind, in order.
template <class Message>
std::vector<Message> only(const std::vector<Heard>& heard) {
  std::vector<Message> found;
  for (const Heard& each : heard) {
    if (const auto* message = std::get_if<Message>(&each.message)) found.push_back(*message);
  }
  return found;
}

}  // namespace talaria
