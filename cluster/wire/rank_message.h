// SPDX-License-Identifier: Apache-2.0
// The messages of the rank channel and their frames: 4 bytes big-endian length, then a JSON object
// {"type": "beat", ...} without nested values. Parsing treats its input as hostile: it never throws
// anything but Error and allocates at most a small multiple of the frame's length.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "cluster/wire/rank_status.h"

namespace talaria::wire {

inline constexpr std::size_t kMostFrameBytes = 65536;

// rank -> coordinator
struct Hello {
  std::string attempt_id;
  std::string secret;
  int rank = 0;
  int world = 1;
  std::int64_t pid = 0;
  std::string host;
};
struct Beat {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  Phase phase = Phase::kStart;
  double phase_seconds = 0.0;  // in this phase so far
  Wait wait = Wait::kNone;
  std::int64_t checkpoint_step = -1;
  double loss = 0.0;  // NaN travels as null
  double tokens_per_second = 0.0;
  double mfu = 0.0;
  std::optional<double> validation_loss;
  std::int64_t rss_bytes = 0;
};
struct Bye {
  int exit_code = 0;
};
// coordinator -> rank
struct Welcome {
  double beat_seconds = 1.0;
};
struct Refused {
  std::string reason;
};
struct Stop {};  // stop with a checkpoint, like SIGUSR1

using RankMessage = std::variant<Hello, Beat, Bye, Welcome, Refused, Stop>;

// The whole frame, length included. Names must be plain ASCII of at most 256 bytes; a host or
// reason is made so (other bytes become "?"), a reason is cut after 1024.
std::string encode_frame(const RankMessage& message);
// The body of one frame. Throws Error saying what is wrong with it.
RankMessage decode_body(std::string_view body);

// Collects bytes into frames.
class FrameReader {
 public:
  void append(std::string_view bytes);
  // The next whole frame's body, or nothing. Throws Error when a length is 0 or above
  // kMostFrameBytes.
  std::optional<std::string> next();

 private:
  std::string buffer_;
  std::size_t start_ = 0;
};

// a == b in time that depends on the lengths only.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace talaria::wire
