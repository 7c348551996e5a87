// SPDX-License-Identifier: Apache-2.0
// libFuzzer's way into one target, TALARIA_FUZZ_TARGET.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  talaria::fuzz::TALARIA_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
