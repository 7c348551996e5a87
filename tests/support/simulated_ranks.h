// SPDX-License-Identifier: Apache-2.0
// Many ranks of one attempt as a coordinator hears them: a connection each that says hello and then
// beats, evenly spread over the interval, all from one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/base/file.h"

namespace talaria::testing_support {

class SimulatedRanks {
 public:
  // Connects `ranks` ranks to 127.0.0.1:`port`; each must be welcomed within 30 s. Throws Error.
  SimulatedRanks(std::uint16_t port, const std::string& attempt_id, const std::string& secret,
                 int ranks);

  // Lets each rank beat once every `interval` seconds, for `seconds`. Returns the number of beats.
  std::int64_t beat(double interval, double seconds);

 private:
  std::vector<UniqueFd> connections_;
  std::int64_t beats_ = 0;
};

}  // namespace talaria::testing_support
