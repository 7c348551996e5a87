// SPDX-License-Identifier: Apache-2.0
// The rank channel's messages: every one comes back as it was sent, and nothing that a stranger may
// send does anything but throw Error.
#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/wire/rank_message.h"

namespace talaria::wire {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class Message>
Message round_trip(const Message& message) {
  const std::string frame = encode_frame(message);
  return std::get<Message>(decode_body(std::string_view(frame).substr(4)));
}

Beat some_beat() {
  Beat beat;
  beat.step = 17;
  beat.steps = 1'000'000'000'000;
  beat.phase = Phase::kSave;
  beat.phase_seconds = 0.125;
  beat.wait = Wait::kBarrier;
  beat.checkpoint_step = 10;
  beat.loss = 3.0000000000000004;
  beat.tokens_per_second = 1234.5;
  beat.mfu = 0.25;
  beat.validation_loss = 3.5;
  beat.rss_bytes = std::int64_t{1} << 40;
  return beat;
}

std::string complaint(std::string_view body) {
  try {
    decode_body(body);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

// The body of a message with one piece of its text replaced, which must be there.
std::string with(const RankMessage& message, const std::string& from, const std::string& to) {
  std::string body = encode_frame(message).substr(4);
  const std::size_t at = body.find(from);
  EXPECT_NE(at, std::string::npos) << from << " is not in " << body;
  return at == std::string::npos ? body : body.replace(at, from.size(), to);
}

TEST(RankMessage, HelloComesBack) {
  const Hello sent = {"j1-s0-a001-5f0c", "0123abcd", 3, 8, 4711, "node-1.cluster"};
  const Hello got = round_trip(sent);
  EXPECT_EQ(got.attempt_id, sent.attempt_id);
  EXPECT_EQ(got.secret, sent.secret);
  EXPECT_EQ(got.rank, 3);
  EXPECT_EQ(got.world, 8);
  EXPECT_EQ(got.pid, 4711);
  EXPECT_EQ(got.host, sent.host);
}

TEST(RankMessage, BeatComesBackBitForBit) {
  const Beat sent = some_beat();
  const Beat got = round_trip(sent);
  EXPECT_EQ(got.step, sent.step);
  EXPECT_EQ(got.steps, sent.steps);
  EXPECT_EQ(got.phase, sent.phase);
  EXPECT_EQ(got.phase_seconds, sent.phase_seconds);
  EXPECT_EQ(got.wait, sent.wait);
  EXPECT_EQ(got.checkpoint_step, sent.checkpoint_step);
  EXPECT_EQ(got.loss, sent.loss);
  EXPECT_EQ(got.tokens_per_second, sent.tokens_per_second);
  EXPECT_EQ(got.mfu, sent.mfu);
  EXPECT_EQ(got.validation_loss, sent.validation_loss);
  EXPECT_EQ(got.rss_bytes, sent.rss_bytes);
  EXPECT_FALSE(round_trip(Beat{}).validation_loss.has_value());
}

TEST(RankMessage, EveryPhaseAndWaitHasAName) {
  for (int i = 0; i < kPhases; ++i) {
    Beat beat;
    beat.phase = static_cast<Phase>(i);
    EXPECT_EQ(round_trip(beat).phase, beat.phase);
  }
  for (int i = 0; i <= static_cast<int>(Wait::kBarrier); ++i) {
    Beat beat;
    beat.wait = static_cast<Wait>(i);
    EXPECT_EQ(round_trip(beat).wait, beat.wait);
  }
  EXPECT_STREQ(phase_name(static_cast<Phase>(kPhases)), "unknown");
  EXPECT_STREQ(phase_name(static_cast<Phase>(-1)), "unknown");
  EXPECT_STREQ(wait_name(static_cast<Wait>(8)), "unknown");
  EXPECT_STREQ(wait_name(static_cast<Wait>(-1)), "unknown");
  EXPECT_THROW(parse_phase(""), Error);
  EXPECT_THROW(parse_phase("Step"), Error);
}

TEST(RankMessage, WhatIsNotFiniteTravelsAsNull) {
  Beat beat = some_beat();
  beat.loss = kNan;
  beat.mfu = kInfinity;
  beat.validation_loss = -kInfinity;
  EXPECT_THAT(encode_frame(beat), HasSubstr("\"loss\":null"));
  const Beat got = round_trip(beat);
  EXPECT_TRUE(std::isnan(got.loss));
  EXPECT_TRUE(std::isnan(got.mfu));
  ASSERT_TRUE(got.validation_loss.has_value());
  EXPECT_TRUE(std::isnan(*got.validation_loss));
}

TEST(RankMessage, TheOthersComeBack) {
  EXPECT_EQ(round_trip(Bye{75}).exit_code, 75);
  EXPECT_EQ(round_trip(Welcome{0.05}).beat_seconds, 0.05);
  EXPECT_EQ(round_trip(Refused{"attempt 3 has ended"}).reason, "attempt 3 has ended");
  round_trip(Stop{});
}

TEST(RankMessage, AReasonIsMadePlainAndCut) {
  EXPECT_EQ(round_trip(Refused{"a\n\x1b[31m\xff\"\\b"}).reason, "a??[31m?\"\\b");
  EXPECT_EQ(round_trip(Refused{std::string(100'000, 'x')}).reason, std::string(1024, 'x'));
}

TEST(RankMessage, UnknownKeysAreIgnored) {
  EXPECT_NO_THROW(decode_body(R"({"type":"stop","later":1,"x":"y","n":null})"));
}

TEST(RankMessage, MalformedJsonIsRefused) {
  for (const char* body :
       {"", " ", "{", "}", "nul", "{\"type\":\"stop\"", "{\"type\":\"stop\"} x",
        "{\"type\":\"stop\"}{\"type\":\"stop\"}", "{'type':'stop'}", "{\"type\":\"stop\",}",
        "{\"type\":\"st\xff\xfep\"}", "{\"type\":\"\xc0\xaf\"}", "{\"type\":\"\\ud800\"}",
        "{\"type\":\"a\nb\"}", "{\"type\":\"bye\",\"exit_code\":NaN}",
        "{\"type\":\"bye\",\"exit_code\":01}", "\xef\xbb\xbf{\"type\":\"stop\"}"}) {
    EXPECT_THAT(complaint(body), HasSubstr("rank message: not a flat JSON object")) << body;
  }
  EXPECT_THAT(complaint(std::string_view("{\"type\":\"st\0p\"}", 15)), HasSubstr("not a flat"));
  for (const char* body : {"null", "1", "\"stop\"", "true"}) {
    EXPECT_THAT(complaint(body), HasSubstr("not a JSON object")) << body;
  }
}

TEST(RankMessage, NestedValuesAreRefusedHoweverDeep) {
  EXPECT_THAT(complaint(R"({"type":"stop","x":[]})"), HasSubstr("not a flat JSON object"));
  EXPECT_THAT(complaint(R"({"type":"stop","x":{}})"), HasSubstr("not a flat JSON object"));
  EXPECT_THAT(complaint("[" + std::string(60'000, '[')), HasSubstr("not a flat JSON object"));
  std::string deep = "{\"type\":";
  for (int i = 0; i < 10'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(complaint(deep), HasSubstr("not a flat JSON object"));
}

TEST(RankMessage, TypesAndRangesAreChecked) {
  EXPECT_THAT(complaint("{}"), HasSubstr("type is missing"));
  EXPECT_THAT(complaint(R"({"type":3})"), HasSubstr("type: not a string"));
  EXPECT_THAT(complaint(R"({"type":"submit"})"), HasSubstr("unknown type \"submit\""));
  const Hello hello = {"id", "secret", 3, 8, 4711, "node"};
  EXPECT_THAT(complaint(with(hello, "\"rank\":3", "\"rank\":8")), HasSubstr("rank: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"rank\":3", "\"rank\":-1")), HasSubstr("rank: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"rank\":3", "\"rank\":3.0")), HasSubstr("rank: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"rank\":3", "\"rank\":\"3\"")), HasSubstr("rank: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"rank\":3", "\"rank\":18446744073709551615")),
              HasSubstr("rank: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"world\":8", "\"world\":0")), HasSubstr("world: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"pid\":4711", "\"pid\":0")), HasSubstr("pid: allowed"));
  EXPECT_THAT(complaint(with(hello, "\"secret\":\"secret\",", "")), HasSubstr("secret is missing"));
  EXPECT_THAT(complaint(with(hello, "\"id\"", "null")), HasSubstr("attempt_id: not a string"));
  EXPECT_THAT(complaint(with(hello, "\"node\"", "\"no\\u0000de\"")), HasSubstr("not plain text"));
  EXPECT_THAT(complaint(with(hello, "\"node\"", "\"\\u001b[2J\"")), HasSubstr("not plain text"));
  EXPECT_THAT(complaint(with(hello, "\"node\"", "\"" + std::string(257, 'n') + "\"")),
              HasSubstr("host: longer than 256 bytes"));
}

TEST(RankMessage, BeatsAreChecked) {
  const Beat beat = some_beat();
  EXPECT_THAT(complaint(with(beat, "\"step\":17", "\"step\":-1")), HasSubstr("step: allowed"));
  EXPECT_THAT(complaint(with(beat, "\"save\"", "\"saving\"")), HasSubstr("phase \"saving\""));
  EXPECT_THAT(complaint(with(beat, "\"barrier\"", "\"bar\"")), HasSubstr("unknown word \"bar\""));
  EXPECT_THAT(complaint(with(beat, "\"loss\":", "\"loss\":\"x\",\"y\":")),
              HasSubstr("loss: allow"));
  EXPECT_THAT(complaint(with(beat, "\"mfu\":", "\"mfu\":1e999,\"y\":")), HasSubstr("mfu: not a f"));
  EXPECT_THAT(complaint(with(beat, "\"phase_seconds\":", "\"phase_seconds\":-1,\"y\":")),
              HasSubstr("phase_seconds: allowed"));
  EXPECT_THAT(complaint(with(beat, "\"phase_seconds\":", "\"phase_seconds\":null,\"y\":")),
              HasSubstr("phase_seconds: allowed"));
  EXPECT_THAT(complaint(with(beat, "\"rss_bytes\":", "\"rss_bytes\":1e30,\"y\":")),
              HasSubstr("rss_bytes: allowed"));
  EXPECT_THAT(complaint(R"({"type":"bye","exit_code":256})"), HasSubstr("exit_code: allowed"));
  EXPECT_THAT(complaint(R"({"type":"welcome","beat_seconds":-0.5})"), HasSubstr("beat_seconds"));
}

TEST(RankMessage, DamagedBytesThrowErrorAndNothingElse) {
  std::mt19937 random(7);
  const std::vector<std::string> bodies = {encode_frame(some_beat()).substr(4),
                                           encode_frame(Hello{"id", "s", 0, 1, 1, "h"}).substr(4)};
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string body = bodies[static_cast<std::size_t>(i) % bodies.size()];
    for (unsigned flips = 1 + random() % 3; flips > 0; --flips) {
      body[random() % body.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) body.resize(random() % body.size());
    try {
      decode_body(body);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10'000);
}

TEST(FrameReader, FramesSplitAtEveryByte) {
  const std::string stream =
      encode_frame(some_beat()) + encode_frame(Stop{}) + encode_frame(Bye{1});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameReader reader;
    std::vector<std::string> bodies;
    for (const std::string& piece : {stream.substr(0, cut), stream.substr(cut)}) {
      reader.append(piece);
      while (auto body = reader.next()) bodies.push_back(*body);
    }
    ASSERT_EQ(bodies.size(), 3U) << "cut at " << cut;
    EXPECT_TRUE(std::holds_alternative<Beat>(decode_body(bodies[0])));
    EXPECT_TRUE(std::holds_alternative<Stop>(decode_body(bodies[1])));
    EXPECT_TRUE(std::holds_alternative<Bye>(decode_body(bodies[2])));
  }
}

TEST(FrameReader, ByteByByteAndOnlyWholeFrames) {
  const std::string frame = encode_frame(some_beat());
  FrameReader reader;
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (std::size_t i = 0; i < frame.size(); ++i) {
      EXPECT_FALSE(reader.next().has_value());
      reader.append(frame.substr(i, 1));
    }
    EXPECT_EQ(reader.next(), frame.substr(4));
  }
}

TEST(FrameReader, LengthsAreJudgedBeforeTheBodyCame) {
  using namespace std::string_view_literals;
  for (const std::string_view length :
       {"\0\0\0\0"sv, "\0\1\0\1"sv, "\xff\xff\xff\xff"sv, "GET "sv}) {
    FrameReader reader;
    reader.append(length.substr(0, 3));
    EXPECT_FALSE(reader.next().has_value());
    reader.append(length.substr(3));
    EXPECT_THROW(reader.next(), Error);
    EXPECT_THROW(reader.next(), Error) << "a broken stream stays broken";
  }
  FrameReader largest;
  largest.append("\0\1\0\0"sv);
  largest.append(std::string(kMostFrameBytes - 1, 'x'));
  EXPECT_FALSE(largest.next().has_value());
  largest.append("x");
  EXPECT_EQ(largest.next()->size(), kMostFrameBytes);
}

TEST(Secrets, AreEqualOnlyWhenAllBytesAre) {
  EXPECT_TRUE(equal_secrets("abc", "abc"));
  EXPECT_FALSE(equal_secrets("abc", "abd"));
  EXPECT_FALSE(equal_secrets("abc", "bbc"));
  EXPECT_FALSE(equal_secrets("abc", "ab"));
  EXPECT_FALSE(equal_secrets("", "a"));
}

TEST(RankStatus, EnterSetsPhaseAndTime) {
  RankStatus status;
  EXPECT_EQ(status.phase.load(), 0);
  const double before = monotonic_seconds();
  status.enter(Phase::kSave);
  EXPECT_EQ(status.phase.load(), static_cast<std::int32_t>(Phase::kSave));
  EXPECT_GE(status.phase_started.load(), before);
  EXPECT_LE(status.phase_started.load(), monotonic_seconds());
}

}  // namespace
}  // namespace talaria::wire
