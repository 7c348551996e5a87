// SPDX-License-Identifier: Apache-2.0
// Text that comes in pieces of bytes, given on in whole characters: a token may end in the middle
// of one.
#pragma once

#include <string>
#include <string_view>

namespace talaria::worker {

class TextStream {
 public:
  // All that `bytes` completes, as valid UTF-8: what can begin no character becomes U+FFFD. A
  // character of which bytes are missing is kept for the next call.
  std::string push(std::string_view bytes);

 private:
  std::string held_;
};

}  // namespace talaria::worker
