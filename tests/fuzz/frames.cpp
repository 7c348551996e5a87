// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>
#include <string>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "cluster/wire/rank_message.h"
#include "tests/fuzz/fuzz.h"

namespace talaria::fuzz {

namespace {

// What was understood survives being sent on.
void check_again(const wire::RankMessage& message) {
  const std::string frame = wire::encode_frame(message);
  wire::FrameReader reader;
  reader.append(frame);
  const auto body = reader.next();
  if (!body || reader.next()) throw std::logic_error("a message is not one frame");
  if (wire::encode_frame(wire::decode_body(*body)) != frame) {
    throw std::logic_error("a message changed: " + *body);
  }
}

void decode(const std::string& body) {
  wire::RankMessage message;
  try {
    message = wire::decode_body(body);
  } catch (const Error& error) {
    if (one_line(error.what()) != error.what()) {
      throw std::logic_error(std::string("not one printable line: ") + error.what());
    }
    return;
  }
  check_again(message);
}

}  // namespace

void frames(std::string_view bytes) {
  if (bytes.empty()) return;
  const std::size_t piece = 1 + static_cast<unsigned char>(bytes[0]);
  bytes.remove_prefix(1);
  decode(std::string(bytes));  // as a body without its length, which fuzzing would seldom guess
  wire::FrameReader reader;
  try {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      reader.append(bytes.substr(0, piece));
      while (const auto body = reader.next()) {
        if (body->empty() || body->size() > wire::kMostFrameBytes) {
          throw std::logic_error("a frame of no legal length");
        }
        decode(*body);
      }
    }
  } catch (const Error&) {
    return;  // a length that no frame has
  }
}

}  // namespace talaria::fuzz
