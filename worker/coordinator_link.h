// SPDX-License-Identifier: Apache-2.0
// One TCP connection of a rank to its coordinator. After the name is looked up nothing here waits:
// the reporter polls. What cannot be sent at once is never queued beyond one frame, so a peer that
// does not read costs nothing.
#pragma once

#include <optional>
#include <string>

#include "cluster/base/file.h"
#include "cluster/wire/rank_message.h"

namespace talaria::worker {

class CoordinatorLink {
 public:
  // Begins to connect to "host:port" ("[::1]:4000" for IPv6). Of a name with several addresses
  // `turn` (>= 0) chooses one. Throws Error.
  CoordinatorLink(const std::string& address, std::size_t turn);

  int fd() const { return fd_.get(); }
  // The poll(2) events to wait for.
  short events() const;
  // To be called when fd() is ready, or may be: goes on with the connecting, the sending and the
  // receiving. Throws Error when the connection cannot be made.
  void advance();
  bool connected() const { return connected_; }

  // Whether a message can be taken: connected, and the one before is wholly sent.
  bool can_send() const { return connected_ && out_.empty(); }
  // Takes a message while can_send().
  void send(const wire::RankMessage& message);
  // What advance() received, in order. Throws Error for what is no message, and when all is read
  // and the connection is closed or lost.
  std::optional<wire::RankMessage> next();

  // Nothing more will be sent; the peer reads what was, then the end.
  void end();

 private:
  void check_connected();
  void flush();
  void receive();

  UniqueFd fd_;
  bool connected_ = false;
  std::string out_;   // the rest of a frame
  std::string lost_;  // why there is no connection any more
  wire::FrameReader reader_;
};

}  // namespace talaria::worker
