// SPDX-License-Identifier: Apache-2.0
#include "worker/text_stream.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "cluster/base/text.h"

namespace talaria::worker {
namespace {

std::size_t length_by_lead(std::uint8_t lead) {
  return lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1;
}

// Bytes at the end that may be the beginning of a character: at most three.
std::size_t unfinished(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<std::uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    return length_by_lead(byte) > back ? back : 0;
  }
  return 0;
}

}  // namespace

std::string TextStream::push(std::string_view bytes) {
  std::string text = std::exchange(held_, {});
  text += bytes;
  const std::size_t whole = text.size() - unfinished(text);
  held_ = text.substr(whole);
  text.resize(whole);
  return valid_utf8(text);
}

}  // namespace talaria::worker
