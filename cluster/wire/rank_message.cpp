// SPDX-License-Identifier: Apache-2.0
// Messages are flat: an object of strings, numbers and nulls. The parser is told so, and a nested
// value is refused before it is built.
#include "cluster/wire/rank_message.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::wire {
namespace {

namespace json = boost::json;

constexpr std::size_t kMostNameBytes = 256;  // attempt id, secret, host
constexpr std::size_t kMostReasonBytes = 1024;
constexpr std::size_t kLengthBytes = 4;
constexpr std::int64_t kMostInt = std::numeric_limits<std::int64_t>::max();

bool printable(char c) { return c >= 0x20 && c < 0x7F; }

// JSON has no NaN and no infinities.
json::value number_or_null(double value) {
  if (std::isfinite(value)) return value;
  return nullptr;
}

// What a coordinator says may hold a path of any bytes; a frame holds printable ones.
std::string plain(std::string_view text) {
  std::string result(text.substr(0, kMostReasonBytes));
  for (char& c : result) {
    if (!printable(c)) c = '?';
  }
  return result;
}

json::object describe(const Hello& hello) {
  return {{"type", "hello"},          {"attempt_id", hello.attempt_id}, {"secret", hello.secret},
          {"rank", hello.rank},       {"world", hello.world},           {"pid", hello.pid},
          {"host", plain(hello.host)}};
}

json::object describe(const Beat& beat) {
  json::object object = {{"type", "beat"},
                         {"step", beat.step},
                         {"steps", beat.steps},
                         {"phase", phase_name(beat.phase)},
                         {"phase_seconds", number_or_null(beat.phase_seconds)},
                         {"wait", wait_name(beat.wait)},
                         {"checkpoint_step", beat.checkpoint_step},
                         {"loss", number_or_null(beat.loss)},
                         {"tokens_per_second", number_or_null(beat.tokens_per_second)},
                         {"mfu", number_or_null(beat.mfu)},
                         {"rss_bytes", beat.rss_bytes}};
  if (beat.validation_loss) object["validation_loss"] = number_or_null(*beat.validation_loss);
  return object;
}

json::object describe(const Bye& bye) { return {{"type", "bye"}, {"exit_code", bye.exit_code}}; }

json::object describe(const Welcome& welcome) {
  return {{"type", "welcome"}, {"beat_seconds", number_or_null(welcome.beat_seconds)}};
}

json::object describe(const Refused& refused) {
  return {{"type", "refused"}, {"reason", plain(refused.reason)}};
}

json::object describe(const Stop&) { return {{"type", "stop"}}; }

// The members of one message, each checked when it is asked for.
class Members {
 public:
  explicit Members(json::object object) : object_(std::move(object)) {}

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    const json::value& value = find(key);
    if (!value.is_int64() || value.get_int64() < low || value.get_int64() > high) {
      fail("rank message: {}: allowed is an integer from {} to {}", key, low, high);
    }
    return value.get_int64();
  }

  // null is NaN.
  double real(const char* key) const {
    const json::value& value = find(key);
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) fail("rank message: {}: allowed is a number or null", key);
    const auto number = value.to_number<double>();
    if (!std::isfinite(number)) fail("rank message: {}: not a finite number", key);
    return number;
  }

  // A duration.
  double seconds(const char* key) const {
    const double value = real(key);
    if (!(value >= 0.0)) fail("rank message: {}: allowed is a number from 0", key);
    return value;
  }

  std::string text(const char* key, std::size_t most) const {
    const json::value& value = find(key);
    if (!value.is_string()) fail("rank message: {}: not a string", key);
    const json::string& string = value.get_string();
    if (string.size() > most) fail("rank message: {}: longer than {} bytes", key, most);
    for (const char c : string) {
      if (!printable(c)) fail("rank message: {}: not plain text", key);
    }
    return {string.data(), string.size()};
  }

  bool has(const char* key) const { return object_.contains(key); }

 private:
  const json::value& find(const char* key) const {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr) fail("rank message: {} is missing", key);
    return *value;
  }

  json::object object_;
};

Hello read_hello(const Members& members) {
  Hello hello;
  constexpr int kMost = std::numeric_limits<int>::max();
  hello.attempt_id = members.text("attempt_id", kMostNameBytes);
  hello.secret = members.text("secret", kMostNameBytes);
  hello.world = static_cast<int>(members.integer("world", 1, kMost));
  hello.rank = static_cast<int>(members.integer("rank", 0, hello.world - 1));
  hello.pid = members.integer("pid", 1, kMost);
  hello.host = members.text("host", kMostNameBytes);
  return hello;
}

Wait parse_wait(std::string_view name) {
  for (auto wait = Wait::kNone; wait <= Wait::kBarrier;
       wait = static_cast<Wait>(static_cast<std::int32_t>(wait) + 1)) {
    if (name == wait_name(wait)) return wait;
  }
  fail("rank message: wait: unknown word {}", in_quotes(name));
}

Beat read_beat(const Members& members) {
  Beat beat;
  beat.step = members.integer("step", 0, kMostInt);
  beat.steps = members.integer("steps", 0, kMostInt);
  beat.phase = parse_phase(members.text("phase", kMostNameBytes));
  beat.phase_seconds = members.seconds("phase_seconds");
  beat.wait = parse_wait(members.text("wait", kMostNameBytes));
  beat.checkpoint_step = members.integer("checkpoint_step", -1, kMostInt);
  beat.loss = members.real("loss");
  beat.tokens_per_second = members.real("tokens_per_second");
  beat.mfu = members.real("mfu");
  if (members.has("validation_loss")) beat.validation_loss = members.real("validation_loss");
  beat.rss_bytes = members.integer("rss_bytes", 0, kMostInt);
  return beat;
}

Members parse_members(std::string_view body) {
  if (body.size() > kMostFrameBytes) {
    fail("rank message: {} bytes, allowed are {}", body.size(), kMostFrameBytes);
  }
  json::parse_options options;
  options.max_depth = 1;
  json::error_code error;
  json::value value = json::parse({body.data(), body.size()}, error, {}, options);
  if (error) fail("rank message: not a flat JSON object: {}", error.message());
  if (!value.is_object()) fail("rank message: not a JSON object");
  return Members(std::move(value.get_object()));
}

}  // namespace

std::string encode_frame(const RankMessage& message) {
  const std::string body =
      std::visit([](const auto& each) { return json::serialize(describe(each)); }, message);
  TALARIA_CHECK(body.size() <= kMostFrameBytes, "a rank message of {} bytes", body.size());
  const auto length = static_cast<std::uint32_t>(body.size());
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>(static_cast<unsigned char>(length >> shift));
  }
  return frame + body;
}

RankMessage decode_body(std::string_view body) {
  const Members members = parse_members(body);
  const std::string type = members.text("type", kMostNameBytes);
  if (type == "hello") return read_hello(members);
  if (type == "beat") return read_beat(members);
  if (type == "bye") return Bye{static_cast<int>(members.integer("exit_code", 0, 255))};
  if (type == "welcome") return Welcome{members.seconds("beat_seconds")};
  if (type == "refused") return Refused{members.text("reason", kMostReasonBytes)};
  if (type == "stop") return Stop{};
  fail("rank message: unknown type {}", in_quotes(type));
}

void FrameReader::append(std::string_view bytes) {
  buffer_.erase(0, start_);
  start_ = 0;
  buffer_ += bytes;
}

std::optional<std::string> FrameReader::next() {
  const std::size_t left = buffer_.size() - start_;
  if (left < kLengthBytes) return std::nullopt;
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(buffer_[start_ + i]);
  }
  if (length == 0 || length > kMostFrameBytes) {
    fail("rank channel: a frame of {} bytes, allowed are 1 to {}", length, kMostFrameBytes);
  }
  if (left - kLengthBytes < length) return std::nullopt;
  std::string body = buffer_.substr(start_ + kLengthBytes, length);
  start_ += kLengthBytes + length;
  return body;
}

bool equal_secrets(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(
        difference | (static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])));
  }
  return difference == 0;
}

}  // namespace talaria::wire
