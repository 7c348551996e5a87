// SPDX-License-Identifier: Apache-2.0
// The coordinator's end of the rank channel: accepts connections, checks the attempt's secret,
// hands on what ranks say. A client that says nonsense, too much or nothing is dropped and costs
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "cluster/wire/rank_message.h"

namespace talaria::coordinator {

class RankListener {
 public:
  struct Handlers {
    // Is this an attempt that we watch, with this secret and this many ranks? Its answer's text is
    // sent to a rank that is refused; empty: welcome.
    std::function<std::string(const wire::Hello&)> admit;
    std::function<double(const std::string& attempt_id)> beat_seconds;
    std::function<void(const wire::Hello&)> joined;
    std::function<void(const std::string& attempt_id, int rank, const wire::RankMessage&)> said;
    std::function<void(const std::string& attempt_id, int rank)> lost;  // after joined
  };

  // Listens on `address`, any free port. Throws Error naming the address.
  RankListener(boost::asio::io_context& io, const std::string& address, Handlers handlers);
  ~RankListener();
  RankListener(const RankListener&) = delete;
  RankListener& operator=(const RankListener&) = delete;

  std::uint16_t port() const;
  // Tells the ranks of this attempt that are connected to stop with a checkpoint.
  void stop(const std::string& attempt_id);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace talaria::coordinator
